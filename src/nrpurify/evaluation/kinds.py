"""Whether the fields of a plan hold what their types say; of plans in YAML pydantic sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from nrpurify.core.config import Place, RecipeError, shown
from nrpurify.core.registry import near_matches

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_MODEL = "the name of a model; your own gets one by evaluate(plan, models={'mine': net})"
_MENDS = {
    "name": "the name of an attack; register_attack gives your own one",
    "attacks": "PlannedAttack('pgd'); register_attack gives your own attack a name",
    "victims": _MODEL,
    "surrogate": _MODEL,
    "defenses": "'jpeg:quality=75+fast'; register_defense gives your own module a name",
    "data": "DataSpec('photos', labels='photos.csv'); for images in memory see evaluate()",
    "eps": "8/255",
}
"""What goes into fields that are often given something else."""


def check_kinds(settings: DataclassInstance) -> None:
    """Check the fields of a dataclass; lists may stand for tuples.

    Raises:
        RecipeError: Some hold another kind of value, each with its place.
    """
    hints = _hints(type(settings))
    problems = [
        (place, text)
        for field in fields(settings)
        for place, text in _problems(
            (field.name,), getattr(settings, field.name), hints[field.name]
        )
    ]
    if problems:
        raise RecipeError(*problems)


@cache
def _hints(kind: type[DataclassInstance]) -> dict[str, Any]:
    return get_type_hints(kind)


def _problems(place: Place, value: Any, kind: Any) -> Iterator[tuple[Place, str]]:
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _problems((*place, index), one, get_args(kind)[0])
    elif not _fits(value, kind):
        yield place, f"{shown(value)} given; {_expected(str(place[0]), value, kind)}"


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def _expected(field: str, value: Any, kind: Any) -> str:
    if get_origin(kind) is Literal and isinstance(value, str):
        return near_matches(value, get_args(kind))
    mend = _MENDS.get(field, "")
    if get_origin(kind) is tuple:
        one = repr(value) if isinstance(value, str) else mend.partition(";")[0]
        return f"expected a tuple, also of one: {field}=({one or '...'},)"
    plain = f"; write float({field})" if isinstance(value, Real) and kind is float else ""
    return f"expected {_named(kind)}" + (f", such as {mend}" if mend else "") + plain


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is dict:
        return "a mapping by names"
    if args := get_args(kind):
        return ", or ".join(_named(one) for one in args)
    if kind is NoneType:
        return "None"
    return _KINDS.get(kind, f"a {kind.__name__}")
