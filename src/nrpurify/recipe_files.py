"""Recipes in YAML files: found by name, read with their lines, so that an error can name one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrpurify.errors import InputError, MissingExtraError

Place = tuple[str | int, ...]
"""Keys and places in lists that lead to a setting, such as ``("attacks", 0, "eps")``."""
_MOST = 10_000
_DEEPEST = 20


class RecipeError(InputError):
    """Settings that cannot be used.

    Args:
        problems: What is wrong, each with its place.
    """

    def __init__(self, *problems: tuple[Place, str]) -> None:
        self.problems = problems
        rows = [f"{dotted(place)}: {text}" for place, text in problems]
        super().__init__("the recipe cannot be used:\n  " + "\n  ".join(rows))


def dotted(place: Place) -> str:
    """``attacks.0.eps``."""
    return ".".join(map(str, place))


@contextmanager
def at(*place: str | int) -> Iterator[None]:
    """Give an InputError raised in the block this place in the recipe."""
    try:
        yield
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError((place, str(error))) from error


@dataclass(frozen=True)
class Marks:
    """The lines of a file's settings.

    Attributes:
        path: The file.
        lines: Line numbers from 1 by place.
    """

    path: Path
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a setting, or of what it would have to stand in."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    @contextmanager
    def naming_lines(self) -> Iterator[None]:
        """Add file and lines to a :class:`RecipeError` that leaves the block.

        Raises:
            InputError: In its place.
        """
        try:
            yield
        except RecipeError as error:
            rows = [f"line {self.line(p)}, {dotted(p)}: {text}" for p, text in error.problems]
            raise InputError(f"{self.path} cannot be used:\n  " + "\n  ".join(rows)) from error


def find_recipe(source: str | Path, shipped: Mapping[str, Path]) -> Path:
    """The shipped file of that name, or the file itself.

    Raises:
        InputError: Neither is there.
    """
    path = shipped.get(str(source), Path(source))
    if not path.is_file():
        expected = "a YAML file" + (f" or one of {', '.join(shipped)}" if shipped else "")
        raise InputError(f"no recipe {str(source)!r}; expected {expected}")
    return path


def read_yaml(path: Path) -> tuple[dict[str, Any], Marks]:
    """Read a YAML mapping and where its settings stand.

    Raises:
        InputError: No such file, no valid YAML, no mapping, a key that comes twice, or a file that
            unfolds to more than 10,000 settings or 20 levels.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml()
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        marks = Marks(path, _lines(path, node))
        values = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}; expected a mapping of settings")
    return values, marks


def to_yaml(values: dict[str, Any]) -> str:
    """Plain values as YAML, in their order.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    text: str = _yaml().safe_dump(values, sort_keys=False, allow_unicode=True)
    return text


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    return yaml


def _lines(path: Path, root: Any) -> dict[Place, int]:
    found: dict[Place, int] = {}
    waiting: list[tuple[Place, Any]] = [((), root)]
    while waiting:
        place, node = waiting.pop()
        for key, line, child in _children(node):
            here = (*place, key)
            if here in found:
                raise InputError(
                    f"{path}, line {line}: {dotted(here)} came before in line {found[here]}; "
                    "keep one of them"
                )
            found[here] = line
            waiting.append((here, child))
        if len(found) > _MOST or len(place) > _DEEPEST:
            raise InputError(
                f"{path} unfolds to more than {_MOST} settings or {_DEEPEST} levels; "
                "write it without & and *"
            )
    return found


def _children(node: Any) -> Sequence[tuple[str | int, int, Any]]:
    content = node.value if node is not None else None
    if not isinstance(content, list):
        return []
    if content and not isinstance(content[0], tuple):
        return [(index, item.start_mark.line + 1, item) for index, item in enumerate(content)]
    return [(str(key.value), key.start_mark.line + 1, value) for key, value in content]
