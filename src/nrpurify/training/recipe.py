"""The one way from a YAML file to a checked recipe, for every kind of training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Self

from nrpurify.core.config import Marks, Place, RecipeError, find_recipe, read_yaml
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.spec import parse_fraction

_FRACTION = re.compile(r"\s*\d+(\.\d+)?\s*/\s*\d+(\.\d+)?\s*")


@dataclass(frozen=True)
class TrainingRecipe:
    """Base of the recipes: everything that decides a training, as a frozen dataclass.

    A subclass names its settings as fields and checks them in ``__post_init__``. The shipped
    recipes are the YAML files in ``nrpurify/training/recipes/FOLDER``.
    """

    folder: ClassVar[str]
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a recipe from plain values; texts such as 16/255 are numbers too.

        Raises:
            RecipeError: Unknown keys or values of the wrong kind, each with its place.
            MissingExtraError: pydantic is not installed.
        """
        try:
            from pydantic import TypeAdapter, ValidationError
        except ImportError as error:
            raise MissingExtraError("pydantic", "train") from error
        try:
            return TypeAdapter(cls).validate_python(_fractions(dict(values)))
        except ValidationError as error:
            problems = [problem for detail in error.errors() for problem in _problems(detail)]
            raise RecipeError(*problems) from error

    @classmethod
    def shipped(cls) -> dict[str, Path]:
        """The files of the recipes that the package ships, by name."""
        path = Path(str(resources.files("nrpurify.training"))) / "recipes" / cls.folder
        return {file.stem: file for file in sorted(path.glob("*.yaml"))}

    @classmethod
    def load(cls, source: str | Path, *, base: str = "", **changes: Any) -> Self:
        """Read a shipped recipe by name, or a YAML file.

        A recipe that ``extends`` another one replaces top-level settings of it; that one may extend
        a third.

        Args:
            source: A shipped recipe's name, or a file.
            base: A recipe to extend in place of the one that ``source`` extends; empty for that
                one.
            changes: Top-level settings that replace those of the recipe; None changes nothing.

        Raises:
            InputError: No such recipe, one that cannot be used (lines are named), or recipes that
                extend each other.
            MissingExtraError: PyYAML or pydantic is not installed.
        """
        values, marks = cls._read(str(source), (), base)
        with marks.naming_lines():
            recipe = cls.from_dict(values)
        given = {name: value for name, value in changes.items() if value is not None}
        return cls.from_dict({**values, **given}) if given else recipe

    @classmethod
    def _read(
        cls, source: str, before: tuple[str, ...], base: str = ""
    ) -> tuple[dict[str, Any], Marks]:
        """The settings of a recipe over those of what it extends, and the lines of its own."""
        if source in before:
            raise InputError(f"recipes extend each other: {' -> '.join((*before, source))}")
        values, marks = read_yaml(find_recipe(source, cls.shipped()))
        if values.get("extends"):
            extended = base or str(values["extends"])
            below, below_marks = cls._read(extended, (*before, source))
            with below_marks.naming_lines():
                cls.from_dict(below)  # a fault in the other file is named with that file's line
            values = {**below, **values, "extends": extended}
        if "extends" not in {field.name for field in fields(cls)}:
            values.pop("extends", None)
        return values, marks


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
    """The problems in one of pydantic's errors; a dataclass's own checks name places within it."""
    place: Place = detail["loc"]
    own = detail.get("ctx", {}).get("error")
    if isinstance(own, RecipeError):
        return [((*place, *inner), text) for inner, text in own.problems]
    return [(place, str(own) if isinstance(own, InputError) else detail["msg"])]
