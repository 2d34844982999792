"""Training recipes of any kind: read from YAML, checked against their dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from nrpurify.errors import MissingExtraError
from nrpurify.recipe_files import RecipeError, find_recipe, read_yaml

T = TypeVar("T")


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``kind`` from plain values.

    Raises:
        RecipeError: Unknown keys or values of the wrong kind, each with its place.
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingExtraError("pydantic", "train") from error
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise RecipeError(*((e["loc"], e["msg"]) for e in error.errors())) from error


def shipped_files(folder: str) -> dict[str, Path]:
    """The YAML files that the package carries in ``nrpurify/training/FOLDER``, by name."""
    path = Path(str(resources.files("nrpurify.training"))) / folder
    return {file.stem: file for file in sorted(path.glob("*.yaml"))}


def read_checked(
    kind: type[T],
    source: str | Path,
    shipped: Mapping[str, Path],
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings in a shipped file, by name, or in any other YAML file, that make a ``kind``.

    Args:
        kind: The dataclass.
        source: Name or file.
        shipped: Files by name.
        base: Settings that hold where the file names none.

    Raises:
        InputError: No such file, or one that cannot be used; lines are named.
        MissingExtraError: PyYAML or pydantic is not installed.
    """
    values, marks = read_yaml(find_recipe(source, shipped))
    values = {**(base or {}), **values}
    with marks.naming_lines():
        from_dict(kind, values)
    return values


def changed(kind: type[T], values: Mapping[str, Any], changes: Mapping[str, Any]) -> T:
    """A ``kind`` from ``values``, of which ``changes`` replace those that are not ``None``.

    Raises:
        RecipeError: As :func:`from_dict`.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return from_dict(kind, {**values, **given})
