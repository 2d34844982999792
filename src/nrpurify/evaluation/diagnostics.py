"""Automatic warnings: signs that a grid's numbers flatter a defense, or mean something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from nrpurify.core.spec import same_network, split_specs
from nrpurify.core.words import plural
from nrpurify.evaluation.label_check import at_chance
from nrpurify.evaluation.threats import BLACK_BOX, WHITE_BOX

Cell = Mapping[str, Any]
"""A result, or the object that ``run.json`` holds."""
Warned = dict[str, Any]
"""``kind``, ``text`` and the ids of the ``cells``."""
LARGE_EPS = 16 / 255
"""From here on a white-box attack should leave nothing of a classifier's accuracy."""
NEARLY_ZERO = 0.05


def find_warnings(cells: Sequence[Cell]) -> list[Warned]:
    """All warnings about finished cells.

    Kinds: ``one draw``, ``no gradient``, ``black box beats white box``, ``survives large eps``,
    ``victim is surrogate``, ``at chance``, ``seen in training``; docs/evaluation.md tells each.
    """
    rules: tuple[Callable[[Sequence[Cell]], Iterator[Warned]], ...] = (
        _one_draw,
        _no_gradient,
        _lost_gradient,
        _black_box_wins,
        _survives,
        _own_surrogate,
        _at_chance,
        _seen_in_training,
    )
    found = [warned for rule in rules for warned in rule(cells)]
    return [{**warned, "cells": list(dict.fromkeys(warned["cells"]))} for warned in found]


def _accuracies(cells: Sequence[Cell]) -> list[Cell]:
    """The cells whose value is an accuracy, of which less is better for an attack."""
    return [cell for cell in cells if cell.get("metric", "accuracy") == "accuracy"]


def _warn(kind: str, text: str, cells: Sequence[Cell]) -> Warned:
    return {"kind": kind, "text": text, "cells": [cell["id"] for cell in cells]}


def _by(cells: Sequence[Cell], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Cell]]]:
    """Cells that agree in ``keys``, in a settled order."""

    def key(cell: Cell) -> tuple[Any, ...]:
        return tuple(cell[name] for name in keys)

    for values, group in groupby(sorted(cells, key=key), key):
        yield values, list(group)


def _one_draw(cells: Sequence[Cell]) -> Iterator[Warned]:
    random = [cell for cell in cells if cell["settings"].get("random")]
    single = [cell for cell in random if cell["settings"]["passes"] == 1]
    for (defense,), group in _by(single, "defense"):
        text = f"{defense} is random and was judged on one draw an image; another seed differs"
        yield _warn("one draw", text, group)
    blind = [cell for cell in random if cell["threat"] in ("BPDA", "full gradient")]
    for (defense,), group in _by(blind, "defense"):
        text = f"{defense} is random and was attacked through one draw a step; use EOT"
        yield _warn("one draw", text, group)


def _no_gradient(cells: Sequence[Cell]) -> Iterator[Warned]:
    bad = [c for c in cells if c["settings"].get("zero", 0) or c["settings"].get("broken", 0)]
    for (defense, threat), group in _by(bad, "defense", "threat"):
        zero = max(cell["settings"]["zero"] for cell in group)
        broken = max(cell["settings"]["broken"] for cell in group)
        useless = _both(
            zero, broken, "of zeros at up to {:.0%}", "of NaN or infinite values at up to {:.0%}"
        )
        text = (
            f"{threat} through {defense} met a gradient {useless} of the probed images: its "
            "numbers say nothing about robustness; use BPDA, EOT with bpda, or score-based attacks"
        )
        yield _warn("no gradient", text, group)


def _lost_gradient(cells: Sequence[Cell]) -> Iterator[Warned]:
    met = [cell for cell in cells if cell["settings"].get("gradients")]
    probed = [c for c in met if not (c["settings"].get("zero") or c["settings"].get("broken"))]
    for (attack, threat), group in _by(probed, "attack", "threat"):
        zero = max(cell["settings"]["gradients"]["zero"] for cell in group)
        broken = max(cell["settings"]["gradients"]["not_finite"] for cell in group)
        images = group[0]["settings"]["gradients"]["images"]
        useless = _both(
            zero, broken, "of zeros at up to {}", "with NaN or infinite entries at up to {}"
        )
        text = (
            f"{attack} ({threat}) met a gradient {useless} of {plural(images, 'image')}: images "
            "that survive say nothing about robustness; attack another surrogate, or one whose "
            "logits are not saturated"
        )
        yield _warn("no gradient", text, group)


def _both(zero: float, broken: float, zeros: str, breaks: str) -> str:
    """The kinds of useless gradients that were met, of two; the other one is left out."""
    met = [text.format(count) for text, count in ((zeros, zero), (breaks, broken)) if count]
    return " and one ".join(met)


def _black_box_wins(cells: Sequence[Cell]) -> Iterator[Warned]:
    cells = [cell for cell in _attacked(_accuracies(cells)) if cell.get("norm") != "l2"]
    for (eps, defense, victim), group in _by(cells, "eps", "defense", "victim"):
        white = [cell for cell in group if cell["threat"] in WHITE_BOX]
        black = [cell for cell in group if cell["threat"] in BLACK_BOX]
        if not white or not black:
            continue
        best = min(white, key=_value)
        better = [cell for cell in black if _value(cell) < _value(best)]
        if better:
            strongest = min(better, key=_value)
            text = (
                f"at eps {eps * 255:g}/255 {strongest['attack']} ({strongest['threat']}) leaves "
                f"{victim} behind {defense} {_value(strongest):.1%}, the best white-box attack "
                f"{best['attack']} ({best['threat']}) {_value(best):.1%}: gradients are masked"
            )
            masked = [cell for cell in white if _value(cell) > _value(strongest)]
            yield _warn("black box beats white box", text, [*masked, *better])


def _survives(cells: Sequence[Cell]) -> Iterator[Warned]:
    attacked = [cell for cell in _attacked(_accuracies(cells)) if cell.get("norm") != "l2"]
    white = [cell for cell in attacked if cell["threat"] in WHITE_BOX]
    for (defense, victim), group in _by(white, "defense", "victim"):
        largest = max(cell["eps"] for cell in group)
        at_largest = [cell for cell in group if cell["eps"] == largest]
        best = min(at_largest, key=_value)
        if largest >= LARGE_EPS - 1e-9 and _value(best) > NEARLY_ZERO:
            text = (
                f"{victim} behind {defense} keeps {_value(best):.1%} at eps {largest * 255:g}/255 "
                f"under the best white-box attack, {best['attack']} ({best['threat']}): an attack "
                "that large should leave about 0, so it was too weak"
            )
            yield _warn("survives large eps", text, at_largest)


def _own_surrogate(cells: Sequence[Cell]) -> Iterator[Warned]:
    own = [cell for cell in cells if not cell["settings"].get("in_mean", True)]
    for (victim, surrogate), group in _by(own, "victim", "surrogate"):
        text = f"{victim} was attacked as surrogate ({surrogate}) too: no transfer, in no mean"
        yield _warn("victim is surrogate", text, group)


def _at_chance(cells: Sequence[Cell]) -> Iterator[Warned]:
    for cell in _accuracies(cells):
        if "classes" not in cell["settings"]:
            continue
        bare = cell["attack"] == "clean" and cell["defense"] == "none"
        right = round(cell["value"] * cell["n"])
        if bare and at_chance(right, cell["n"], cell["settings"]["classes"]):
            text = (
                f"{cell['victim']} has {right} of {cell['n']} clean images right, undefended: no "
                "better than chance; are the labels its own, and counted from the right number?"
            )
            yield _warn("at chance", text, [cell])


def _seen_in_training(cells: Sequence[Cell]) -> Iterator[Warned]:
    for (defense,), group in _by(cells, "defense"):
        for name in sorted(
            {n for cell in group for n in cell["settings"].get("seen_in_training", ())}
        ):
            users = [cell for cell in group if _uses(cell, name)]
            if users:
                is_victim = any(same_network(name, cell["victim"]) for cell in users)
                text = (
                    f"{defense} was trained on features of {name}, a "
                    f"{'victim' if is_victim else 'surrogate'} here: it is no unseen network"
                )
                yield _warn("seen in training", text, users)


def _uses(cell: Cell, name: str) -> bool:
    networks = [cell["victim"], *split_specs(cell["surrogate"] or "")]
    return any(same_network(name, network) for network in networks)


def _attacked(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell["eps"] is not None]


def _value(cell: Cell) -> float:
    return float(cell["value"])
