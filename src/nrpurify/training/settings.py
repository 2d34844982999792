"""Recipes of any kind: read from YAML, checked against their dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from nrpurify.errors import InputError, MissingExtraError

T = TypeVar("T")


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``kind`` from plain values.

    Raises:
        InputError: Unknown keys or values of the wrong kind, each with its place.
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingExtraError("pydantic", "train") from error
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        rows = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError("the recipe cannot be used:\n  " + "\n  ".join(rows)) from error


def shipped_files(folder: str) -> dict[str, Path]:
    """The YAML files that the package carries in ``nrpurify/training/FOLDER``, by name."""
    path = Path(str(resources.files("nrpurify.training"))) / folder
    return {file.stem: file for file in sorted(path.glob("*.yaml"))}


def read_yaml(source: str | Path, shipped: Mapping[str, Path]) -> dict[str, Any]:
    """The mapping in a shipped file, by name, or in any other YAML file.

    Raises:
        InputError: No such file, or one that holds no mapping.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    path = shipped.get(str(source), Path(source))
    if not path.is_file():
        names = ", ".join(shipped)
        raise InputError(f"no recipe {str(source)!r}; expected a YAML file or one of {names}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}; expected a mapping of settings")
    return values
