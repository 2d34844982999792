"""``--set key=value``: changes to a recipe by dotted keys."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nrpurify.errors import InputError

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
    from nrpurify.training import recipe_from_dict

    values = json.loads(json.dumps(recipe.to_dict()))
    for text in assignments:
        key, value = _parse(text)
        *parents, last = key.split(".")
        node = values
        for name in parents:
            node = node[_place(node, name, text)]
        node[_place(node, last, text)] = value
    try:
        return recipe_from_dict(values)
    except InputError as error:
        given = " ".join(f"--set {text}" for text in assignments)
        raise InputError(f"{given}: {error}") from error


def _parse(text: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: expected key=value, such as optimization.lr=1e-4")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: {value!r} is no YAML value: {error}") from error


def _place(node: Any, name: str, text: str) -> str | int:
    """The key or index ``name`` of a node that must have it."""
    if isinstance(node, dict) and name in node:
        return name
    if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
        return int(name)
    known = list(node) if isinstance(node, dict) else []
    if isinstance(node, list):
        known = [str(index) for index in range(len(node))]
    near = difflib.get_close_matches(name, known, cutoff=0.5) or known
    hint = f"expected {' or '.join(near)}" if near else "there is nothing below the key before it"
    raise InputError(f"--set {text}: no setting {name!r}; {hint}")
