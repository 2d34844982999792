"""What an evaluation left in its ``run.json``, read and checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.evaluation.variants import variants
from nrpurify.report.environment import eps_text
from nrpurify.report.specs import shown
from nrpurify.report.threats import WHITE_BOX

FILE = "run.json"
MISJUDGING = ("no gradient", "black box beats white box", "survives large eps")
"""Kinds of warnings that leave of a white-box attack's value no more than an upper bound."""
MISJUDGED = "an upper bound only: gradients are masked or the attack was too weak, see the warnings"

_NUMBER = (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "attack": (str,),
    "threat": (str,),
    "defense": (str,),
    "victim": (str,),
    "value": _NUMBER,
    "task": (str,),
    "metric": (str,),
    "surrogate": (str, NoneType),
    "eps": (*_NUMBER, NoneType),
    "steps": (int, NoneType),
    "draws": (int,),
    "interval": (list, NoneType),
    "n": (int, NoneType),
    "success": (*_NUMBER, NoneType),
    "conditional_success": (*_NUMBER, NoneType),
    "rounding": (str,),
    "seconds": (*_NUMBER, NoneType),
    "peak_memory_mb": (*_NUMBER, NoneType),
    "seed": (int, NoneType),
    "notes": (list,),
}


@dataclass(frozen=True)
class Cell:
    """One measured number and how it came about.

    Attributes:
        id: Its name, unique in a run.
        attack: ``clean`` or the attack's name.
        threat: What the attacker knows, see :mod:`nrpurify.report.threats`.
        defense: A spec such as ``jpeg:quality=75+fast``, paths in it shortened; ``none`` for no
            defense.
        victim: The model that is asked.
        value: In [0, 1].
        task: ``classify``, ``detect``, ``instances`` or ``segment``.
        metric: ``accuracy``, ``mAP50``, ``pixel accuracy`` ...
        surrogate: What the attack was made on; several with commas between.
        eps: L∞ budget in units of [0, 1]; None when clean.
        steps: Iterations.
        draws: Passes of EOT or of a vote.
        interval: 95 % interval of the value.
        n: Number of images.
        success: 1 - value where that is the attack's success rate.
        conditional_success: Of images that were right when clean.
        rounding: ``float`` or ``uint8``.
        seconds: Duration.
        peak_memory_mb: Peak memory.
        seed: Start of everything random.
        notes: Remarks.
        variant: What tells the attack from others of its name in the run, see
            :func:`nrpurify.evaluation.variants.variants`.
        warned: Places of the warnings about it among the run's.
        misjudged: Whether a warning says that its white-box attack failed, by masked gradients or
            because it was too weak, so that its value is only an upper bound.
    """

    id: str
    attack: str
    threat: str
    defense: str
    victim: str
    value: float
    task: str = "classify"
    metric: str = "accuracy"
    surrogate: str | None = None
    eps: float | None = None
    steps: int | None = None
    draws: int = 1
    interval: Sequence[float] | None = None
    n: int | None = None
    success: float | None = None
    conditional_success: float | None = None
    rounding: str = "float"
    seconds: float | None = None
    peak_memory_mb: float | None = None
    seed: int | None = None
    notes: Sequence[str] = ()
    variant: str = ""
    warned: Sequence[int] = ()
    misjudged: bool = False

    @property
    def title(self) -> str:
        """The attack, and what tells it from others of its name."""
        return ", ".join(filter(None, (self.attack, self.variant)))

    @property
    def place(self) -> str:
        """Attack, budget, defense and victim in words, for links to it."""
        eps = "" if self.eps is None else f" {eps_text(self.eps)}"
        defense = "no defense" if self.defense == "none" else self.defense
        return f"{self.title}{eps} on {self.victim}, {defense}"

    @property
    def kind(self) -> tuple[str, str]:
        """Task and metric: what may stand in one table."""
        return self.task, self.metric


@dataclass(frozen=True)
class Run:
    """A run: its cells, and ``raw``, the JSON object as it was read."""

    cells: tuple[Cell, ...]
    raw: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Title, else name."""
        return str(self.raw.get("title") or self.raw.get("name") or "Evaluation")

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """``{"kind", "text", "cells": [ID]}`` each."""
        return [{"cells": [], "kind": "note", **warning} for warning in self.items("warnings")]

    def items(self, key: str) -> list[Mapping[str, Any]]:
        """The list of objects under ``key``; empty when there is none.

        Raises:
            InputError: Something else is there.
        """
        found = self.raw.get(key) or []
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise InputError(f"{FILE}: {key} is no list of objects; see docs/evaluation.md")
        return found

    def kinds(self) -> list[tuple[str, str]]:
        """(Task, metric) of the cells, in order of appearance, classification first."""
        found = dict.fromkeys(cell.kind for cell in self.cells)
        return sorted(found, key=lambda kind: kind[0] != "classify")


def read_run(folder: str | Path) -> Run:
    """Read ``run.json`` in a run folder.

    Raises:
        InputError: There is none, or it is not what an evaluation writes.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"no {FILE} in {str(folder)!r}; give the folder of an evaluation")
    try:
        return parse_run(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, InputError) else f"it is no JSON: {error}"
        raise InputError(f"cannot report {str(path)!r}: {reason}") from error


def parse_run(raw: Any) -> Run:
    """Check a RUN object.

    Raises:
        InputError: Nothing to show, or a cell or another part that lacks something or holds another
            kind of value.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("cells"), list):
        raise InputError("it has no cells: expected an object with a list 'cells'")
    if not any(raw.get(key) for key in ("cells", "strips", "paper")):
        raise InputError("it has neither cells, strips nor the paper's numbers: nothing to show")
    raw = _showable(raw)
    cells = [_cell(values, i) for i, values in enumerate(raw["cells"])]
    told = zip(cells, variants(raw["cells"]), strict=True)
    names = shown(cell.defense for cell in cells)
    run = Run(
        tuple(replace(c, variant=variant, defense=names[c.defense]) for c, variant in told), raw
    )
    for key in ("warnings", "strips", "paper"):
        run.items(key)
    if not isinstance(raw.get("images") or {}, dict):
        raise InputError(f"images is {raw['images']!r}; expected an object")
    for warning in run.warnings:
        check_names(warning["cells"] or [], "a warning")
    return replace(run, cells=tuple(_warned(run.cells, run.warnings)))


def _warned(cells: Sequence[Cell], warnings: Sequence[Mapping[str, Any]]) -> Iterator[Cell]:
    """The cells with the warnings about each."""
    sets = [set(warning["cells"] or []) for warning in warnings]
    for cell in cells:
        mine = [place for place, ids in enumerate(sets) if cell.id in ids]
        failed = any(warnings[place]["kind"] in MISJUDGING for place in mine)
        yield replace(cell, warned=tuple(mine), misjudged=failed and cell.threat in WHITE_BOX)


def _showable(raw: dict[str, Any]) -> dict[str, Any]:
    """``raw`` as it can be written: what is no UTF-8 in file names becomes replacement characters.

    Raises:
        InputError: It holds surrogates that come from no file name.
    """
    text = json.dumps(raw, ensure_ascii=False)
    try:
        shown = text.encode(errors="surrogateescape").decode(errors="replace")
    except UnicodeEncodeError as error:
        raise InputError(
            f"it holds {text[error.start]!r}, half of a character; expected whole ones: mend the "
            f"text {text[max(0, error.start - 20) : error.end + 20]!r}"
        ) from error
    found: dict[str, Any] = raw if shown == text else json.loads(shown)
    return found


def check_names(cells: Any, whose: str) -> None:
    """Raise InputError unless ``cells`` is a list of cells' ids."""
    if not isinstance(cells, list) or not all(isinstance(name, str) for name in cells):
        raise InputError(f"{whose} has the cells {cells!r}; expected a list of ids")


def _cell(values: Any, index: int) -> Cell:
    where = f"cell {index}"
    if not isinstance(values, dict):
        raise InputError(f"{where} is {values!r}; expected an object")
    needed = [field.name for field in fields(Cell)][:6]
    if lacking := [name for name in needed if name not in values]:
        raise InputError(f"{where} lacks {', '.join(lacking)}")
    known = {name: value for name, value in values.items() if name in _KINDS}
    for name, value in known.items():
        if not isinstance(value, _KINDS[name]):
            expected = " or ".join(kind.__name__ for kind in _KINDS[name])
            raise InputError(f"{where}: {name} is {value!r}; expected {expected}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise InputError(f"{where}: {name} has {len(str(value))} digits; expected at most 308")
    _check_range(where, known)
    return Cell(**known)


def _check_range(where: str, values: Mapping[str, Any]) -> None:
    interval = values.get("interval")
    if interval is not None and len(interval) != 2:
        raise InputError(f"{where}: interval is {interval!r}; expected [low, high]")
    fractions = {name: values[name] for name in ("value", "eps") if values.get(name) is not None}
    fractions |= {f"interval[{i}]": end for i, end in enumerate(interval or ())}
    for name, value in fractions.items():
        if not (isinstance(value, _NUMBER) and 0 <= value <= 1):
            raise InputError(f"{where}: {name} is {value!r}; expected a number in [0, 1]")
