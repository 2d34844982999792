"""Recipes in YAML files: found by name, read with their lines, so that an error can name one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from nrpurify.core.errors import InputError, MissingExtraError

Place = tuple[str | int, ...]
"""Keys and places in lists that lead to a setting, such as ``("attacks", 0, "eps")``."""
_MOST = 10_000
_DEEPEST = 20
_NAMED = 20
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")
)


class RecipeError(InputError):
    """Settings that cannot be used.

    Args:
        problems: What is wrong, each with its place.
    """

    def __init__(self, *problems: tuple[Place, str]) -> None:
        self.problems = problems
        super().__init__("these settings cannot be used:" + _rows(problems, dotted))


def dotted(place: Place) -> str:
    """``attacks.0.eps``."""
    return ".".join(_cut(str(key), 60) for key in place)


def shown(value: object, most: int = 80) -> str:
    """A value for a message: its ``repr``, cut after ``most`` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep list
        text = f"a {type(value).__name__} too large to show"
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _rows(problems: Sequence[tuple[Place, str]], name: Callable[[Place], str]) -> str:
    """One indented line for each problem, up to a number that can be read."""
    rows = [f"\n  {name(place)}: {text}" for place, text in problems[:_NAMED]]
    more = len(problems) - _NAMED
    return "".join(rows) + (f"\n  and {more} more problems" if more > 0 else "")


@contextmanager
def at(*place: str | int) -> Iterator[None]:
    """Give an InputError raised in the block this place in the recipe."""
    try:
        yield
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError((place, str(error))) from error


class Gathered:
    """Problems of a recipe, gathered so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.problems: list[tuple[Place, str]] = []

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Keep an InputError raised in the block, with this place in the recipe."""
        try:
            yield
        except RecipeError as error:
            self.problems += error.problems
        except InputError as error:
            self.problems.append((place, str(error)))

    def end(self) -> None:
        """Raise a :class:`RecipeError` if there were problems."""
        if self.problems:
            raise RecipeError(*self.problems)


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
            rows = _rows(error.problems, lambda place: f"line {self.line(place)}, {dotted(place)}")
            raise InputError(f"{self.path} cannot be used:{rows}") from error


def find_recipe(source: str | Path, shipped: Mapping[str, Path], what: str = "recipe") -> Path:
    """The shipped file of that name, or the file itself; errors name ``what`` it is.

    Raises:
        InputError: Neither is there.
    """
    path = shipped.get(str(source), Path(source))
    if not path.is_file():
        expected = "a YAML file" + (f" or one of {', '.join(shipped)}" if shipped else "")
        raise InputError(f"no {what} {str(source)!r}; expected {expected}")
    return path


def read_yaml(path: Path) -> tuple[dict[str, Any], Marks]:
    """Read a YAML mapping and where its settings stand.

    Raises:
        InputError: No such file, no valid YAML, no mapping, a key that comes twice, or a file that
            unfolds to more than 10,000 settings or 20 levels.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from error
    values, lines = _parse(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}; expected a mapping of settings")
    return values, Marks(path, lines)


def parse_yaml(text: str, source: str) -> Any:
    """Read one YAML value of plain kinds: null, bool, int, float, str, lists and mappings.

    Dates stay text. Limits and errors are those of :func:`read_yaml`.

    Args:
        text: YAML.
        source: What errors call it.

    Raises:
        InputError: The text is not valid YAML, or holds what no recipe needs.
        MissingExtraError: PyYAML is not installed.
    """
    return _parse(text, source)[0]


def _parse(text: str, source: str) -> tuple[Any, dict[Place, int]]:
    """The value and the lines of its settings."""
    yaml, loader = _yaml(), _loader()(text)
    try:
        node = loader.get_single_node()
        lines = _lines(source, node)
        return (None if node is None else loader.construct_document(node)), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f", line {mark.line + 1}" if mark is not None and "\n" in text else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{source}{where}: not valid YAML: {problem}") from error
    finally:
        loader.dispose()


@cache
def _loader() -> Any:
    """PyYAML's safe loader with limits, for plain values only."""
    yaml = _yaml()
    base: Any = yaml.SafeLoader

    class Loader(base):  # type: ignore[misc]
        """Refuses what is too large while it is read, and names the line of a bad value."""

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.nodes, self.depth = 0, 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.nodes, self.depth = self.nodes + 1, self.depth + 1
            if self.nodes > 2 * _MOST or self.depth > _DEEPEST + 1:
                limit = f"has more than {_MOST} settings or {_DEEPEST} levels"
                self.refuse(f"it {limit}; expected a recipe", self.peek_event().start_mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            if node.tag not in _PLAIN_TAGS:
                self.refuse(
                    f"{node.tag.rpartition(':')[2]} is an unknown kind of value; expected plain "
                    "numbers, texts, lists and mappings",
                    node.start_mark,
                )
            try:
                value = super().construct_object(node, deep)
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                kind = node.tag.rpartition(":")[2]
                given = shown(getattr(node, "value", None), 40)
                self.refuse(f"{given} is not a valid {kind}", node.start_mark, error)
            if isinstance(value, int) and abs(value) >= 2**63:
                self.refuse("an integer is too large; expected 64 bits", node.start_mark)
            return value

        def refuse(self, problem: str, mark: Any, cause: Exception | None = None) -> NoReturn:
            raise yaml.constructor.ConstructorError(None, None, problem, mark) from cause

    Loader.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


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


def _lines(source: str, root: Any) -> dict[Place, int]:
    found: dict[Place, int] = {}
    waiting: list[tuple[Place, Any]] = [((), root)]
    while waiting:
        place, node = waiting.pop()
        for key, line, child in _children(node):
            here = (*place, key)
            if here in found:
                raise InputError(
                    f"{source}, line {line}: {dotted(here)} came before in line {found[here]}; "
                    "keep one of them"
                )
            found[here] = line
            waiting.append((here, child))
        if len(found) > _MOST or len(place) > _DEEPEST:
            raise InputError(
                f"{source} unfolds to more than {_MOST} settings or {_DEEPEST} levels; "
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
