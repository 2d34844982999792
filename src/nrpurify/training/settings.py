"""Training recipes of any kind: read from YAML, checked against their dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from nrpurify.core.config import Marks, Place, RecipeError, find_recipe, read_yaml
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.fractions import parse_fraction

T = TypeVar("T")
_FRACTION = re.compile(r"\s*\d+(\.\d+)?\s*/\s*\d+(\.\d+)?\s*")


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``kind`` from plain values; 16/255 is a number too.

    Raises:
        RecipeError: Unknown keys or values of the wrong kind, each with its place.
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingExtraError("pydantic", "train") from error
    try:
        return TypeAdapter(kind).validate_python(_fractions(dict(values)))
    except ValidationError as error:
        problems = [problem for detail in error.errors() for problem in _problems(detail)]
        raise RecipeError(*problems) from error


def _fractions(value: Any) -> Any:
    """``value`` with numbers in place of texts such as 16/255, at any depth."""
    if isinstance(value, dict):
        return {key: _fractions(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fractions(item) for item in value]
    if isinstance(value, str) and _FRACTION.fullmatch(value):
        with suppress(ZeroDivisionError):
            return parse_fraction(value)
    return value


def _problems(detail: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """What pydantic found, or a check of the dataclass itself, whose places are within it."""
    place: Place = detail["loc"]
    own = detail.get("ctx", {}).get("error")
    if isinstance(own, RecipeError):
        return [((*place, *inner), text) for inner, text in own.problems]
    return [(place, str(own) if isinstance(own, InputError) else detail["msg"])]


def shipped_files(folder: str) -> dict[str, Path]:
    """The YAML files that the package carries in ``nrpurify/training/FOLDER``, by name."""
    path = Path(str(resources.files("nrpurify.training"))) / folder
    return {file.stem: file for file in sorted(path.glob("*.yaml"))}


def read_recipe(source: str | Path, shipped: Mapping[str, Path]) -> tuple[dict[str, Any], Marks]:
    """The settings in a shipped file, by name, or in any other YAML file, and their lines.

    Raises:
        InputError: No such file, or one that is no mapping of settings.
        MissingExtraError: PyYAML is not installed.
    """
    return read_yaml(find_recipe(source, shipped))


def checked(
    kind: type[T], values: Mapping[str, Any], marks: Marks, changes: Mapping[str, Any] | None = None
) -> T:
    """A ``kind`` from what a file holds, of which ``changes`` replace those that are not ``None``.

    Raises:
        InputError: The file cannot be used, lines are named; or a change cannot.
        MissingExtraError: pydantic is not installed.
    """
    with marks.naming_lines():
        made = from_dict(kind, values)
    given = {name: value for name, value in (changes or {}).items() if value is not None}
    return from_dict(kind, {**values, **given}) if given else made
