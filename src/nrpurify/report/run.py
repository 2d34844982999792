"""A run as the report shows it: results with their warnings and short names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nrpurify import results
from nrpurify.core.errors import InputError
from nrpurify.report.specs import shown
from nrpurify.results import RUN_FILE, Result, variants
from nrpurify.results.budget import Budget
from nrpurify.results.misjudged import misjudged
from nrpurify.results.reader import check_objects, load_run


@dataclass(frozen=True)
class Cell(Result):
    """A result as tables show it; paths in the spec of its defense are shortened.

    Attributes:
        variant: What tells the attack from others of its name in the run, see
            :func:`nrpurify.results.variants`.
        warned: Places of the warnings about it among the run's.
        misjudged: Whether a warning says that its white-box attack failed, by masked gradients or
            because it was too weak, so that its value flatters the defense.
    """

    variant: str = ""
    warned: Sequence[int] = ()
    misjudged: bool = False

    @property
    def title(self) -> str:
        """The attack, and what distinguishes it from others of its name."""
        return ", ".join(filter(None, (self.attack, self.variant)))

    @property
    def budget(self) -> Budget | None:
        """How far the attack may go; None of clean images."""
        return Budget.of(self.eps, self.norm)

    @property
    def place(self) -> str:
        """Attack, budget, defense and victim in words, for links to it."""
        eps = "" if self.budget is None else f" {self.budget.text()}"
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
        return check_objects(self.raw, key)

    def kinds(self) -> list[tuple[str, str]]:
        """(Task, metric) of the cells, in order of appearance, classification first."""
        found = dict.fromkeys(cell.kind for cell in self.cells)
        return sorted(found, key=lambda kind: kind[0] != "classify")


def read_run(folder: str | Path) -> Run:
    """Read ``run.json`` in a run folder.

    Raises:
        InputError: There is none, or it is not what an evaluation writes.
    """
    raw = load_run(folder)
    try:
        return parse_run(raw)
    except InputError as error:
        path = Path(folder) / RUN_FILE
        raise InputError(f"cannot report {str(path)!r}: {error}") from error


def parse_run(raw: Any) -> Run:
    """Check a JSON object and make it ready for tables.

    Raises:
        InputError: Nothing to show, or what :func:`nrpurify.results.parse_run` raises.
    """
    read = results.parse_run(_showable(raw))
    if not (read.cells or read.strips or read.paper):
        raise InputError("it has neither cells, strips nor the paper's numbers: nothing to show")
    for warning in read.warnings:
        check_names(warning.get("cells") or [], "a warning")
    names = shown(cell.defense for cell in read.cells)
    cells = [
        Cell(**{**cell, "defense": names[cell.defense]}, variant=variant)
        for cell, variant in zip(read.cells, variants(read.cells), strict=True)
    ]
    run = Run(tuple(cells), _showable(raw))
    return replace(run, cells=tuple(_warned(cells, run.warnings)))


def _warned(cells: Sequence[Cell], warnings: Sequence[Mapping[str, Any]]) -> Iterator[Cell]:
    """The cells with the warnings about each."""
    sets = [set(warning["cells"] or []) for warning in warnings]
    failed = misjudged(cells, warnings)
    for cell in cells:
        mine = [place for place, ids in enumerate(sets) if cell.id in ids]
        yield replace(cell, warned=tuple(mine), misjudged=cell.id in failed)


def _showable(raw: Any) -> Any:
    """``raw`` as it can be written: what is no UTF-8 in file names becomes replacement characters.

    Raises:
        InputError: It holds surrogates that come from no file name.
    """
    text = json.dumps(raw, ensure_ascii=False)
    try:
        clean = text.encode(errors="surrogateescape").decode(errors="replace")
    except UnicodeEncodeError as error:
        raise InputError(
            f"it holds {text[error.start]!r}, half of a character; expected whole ones: mend the "
            f"text {text[max(0, error.start - 20) : error.end + 20]!r}"
        ) from error
    return raw if clean == text else json.loads(clean)


def check_names(cells: Any, whose: str) -> None:
    """Raise InputError unless ``cells`` is a list of cells' ids."""
    if not isinstance(cells, list) or not all(isinstance(name, str) for name in cells):
        raise InputError(f"{whose} has the cells {cells!r}; expected a list of ids")
