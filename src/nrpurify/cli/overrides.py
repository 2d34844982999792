"""``--set key=value``: changes to a recipe by dotted keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches

if TYPE_CHECKING:
    from nrpurify.training import Recipe


def change_recipe(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with settings changed, such as ``losses.pixel=10`` or ``adversaries.0.weight=2``.

    Args:
        recipe: Where to start from.
        assignments: Dotted keys, numbers for places in lists, and YAML values; applied in order.

    Raises:
        InputError: An unknown key (near matches are named) or a value of the wrong kind.
    """

    values = json.loads(json.dumps(recipe.to_dict()))
    for text in assignments:
        key, value = _parse(text)
        *parents, last = key.split(".")
        node = values
        for name in parents:
            node = node[_place(node, name, text)]
        node[_place(node, last, text)] = value
    try:
        return type(recipe).from_dict(values)
    except InputError as error:
        given = " ".join(f"--set {text:.80}" for text in assignments)
        raise InputError(f"{given}: {error}") from error


def _parse(text: str) -> tuple[str, Any]:
    from nrpurify.core.config import parse_yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text:.80}: expected key=value, such as optimization.lr=1e-4")
    return key.strip(), parse_yaml(value, f"--set {text:.80}")


def _place(node: Any, name: str, text: str) -> str | int:
    """The key or index ``name`` of a node that must have it."""
    if isinstance(node, dict) and name in node:
        return name
    known = list(node) if isinstance(node, dict) else []
    if isinstance(node, list):
        known = [str(index) for index in range(len(node))]
        if name in known:
            return known.index(name)
    hint = near_matches(name, known) if known else "there is nothing below the key before it"
    raise InputError(f"--set {text:.80}: no setting {name[:80]!r}; {hint}")
