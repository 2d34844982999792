"""The paper's own numbers beside those measured here."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.report.aggregate import grouped, is_success, mean, strongest
from nrpurify.report.run import Cell, Run, check_names

WIDE = 10
"""Columns beyond which a table is shown in parts."""


@dataclass(frozen=True)
class Pair:
    """One number of the paper and the one measured here, both in [0, 1]; None: not measured.

    ``success`` marks an attack's numbers: less is better for the defense.
    """

    paper: float
    here: float | None
    success: bool = False

    @property
    def held(self) -> float | None:
        """How much the defense holds here, in [0, 1]."""
        return 1 - self.here if self.success and self.here is not None else self.here


@dataclass(frozen=True)
class ComparisonTable:
    """One table of the paper: its columns, pairs by column for each row, and what they are.

    A number of another unit than percent is a row of its own, in words and without pairs.
    """

    where: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, Pair]]
    metrics: tuple[str, ...] = ()


def compare_with_paper(run: Run) -> list[ComparisonTable]:
    """The tables under ``paper`` of a run.

    An entry is ``{"where", "row", "column", "value"}``. Values are fractions; if one of a table is
    above 1, all of it is in percent. With a ``"unit"`` such as "hours" a value is neither: the
    table tells it in words, with those of ``"here"`` for what was measured. ``"metric"`` with the
    word "success" compares with one minus the measured value. ``"cells": [ID...]`` names what was
    measured in its place; without it, row and column are split at " · ", and cells are taken in
    which every part is the name of attack, defense, victim, surrogate, threat or eps (16 or
    16/255).

    Raises:
        InputError: An entry lacks something, its value is no finite number, or its cells are no
            list of ids.
    """
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for entry in run.items("paper"):
        if lacking := [key for key in ("where", "row", "column", "value") if key not in entry]:
            raise InputError(f"an entry of 'paper' lacks {', '.join(lacking)}: {dict(entry)!r}")
        if not _is_number(entry["value"]):
            given = repr(entry["value"])[:40]
            raise InputError(f"'paper' has the value {given}; expected a number")
        if "cells" in entry:
            check_names(entry["cells"], "an entry of 'paper'")
        tables.setdefault(str(entry["where"]), []).append(entry)
    parts = [(where, part) for where, entries in tables.items() for part in _narrow(entries)]
    return [_table(where, part, run.cells) for where, part in parts]


def _narrow(entries: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """A table too wide for a page as one for each metric, where each has columns of its own."""
    by_metric: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_metric.setdefault(str(entry.get("metric", "")), []).append(entry)
    columns = [{str(entry["column"]) for entry in part} for part in by_metric.values()]
    every = set().union(*columns)
    apart = len(every) == sum(map(len, columns))
    return list(by_metric.values()) if apart and len(every) > WIDE else [entries]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _table(
    where: str, entries: Sequence[Mapping[str, Any]], cells: Sequence[Cell]
) -> ComparisonTable:
    shares = [entry for entry in entries if _is_share(entry)]
    scale = 100 if any(float(entry["value"]) > 1 for entry in shares) else 1
    rows: dict[str, dict[str, Pair]] = {}
    for entry in shares:
        here = _measured(entry, cells)
        success = is_success(str(entry.get("metric", "")))
        if success and here is not None:
            here = 1 - here
        pair = Pair(float(entry["value"]) / scale, here, success)
        rows.setdefault(str(entry["row"]), {})[str(entry["column"])] = pair
    rows |= {_in_words(entry): {} for entry in entries if not _is_share(entry)}
    columns = dict.fromkeys(str(entry["column"]) for entry in shares)
    metrics = dict.fromkeys(str(entry["metric"]) for entry in shares if entry.get("metric"))
    return ComparisonTable(where, tuple(columns), rows, tuple(metrics))


def _is_share(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("unit", "%") == "%")


def _in_words(entry: Mapping[str, Any]) -> str:
    here = f"; here {entry['here']}" if entry.get("here") else ""
    return f"{entry['row']} · {entry['column']}: {entry['value']:g} {entry['unit']}{here}"


def _measured(entry: Mapping[str, Any], cells: Sequence[Cell]) -> float | None:
    if "cells" in entry:
        found = [cell for cell in cells if cell.id in entry["cells"]]
    else:
        wanted = _parts(f"{entry['row']} · {entry['column']}")
        found = strongest([cell for cell in cells if wanted <= _names(cell)])
    by_kind = list(grouped(found, lambda cell: cell.kind).values())
    one = mean(by_kind[0]) if len(by_kind) == 1 else None
    return None if one is None else one.value


def _parts(text: str) -> set[str]:
    return {name for part in text.split(" · ") if (name := _plain(part))}


def _names(cell: Cell) -> set[str]:
    eps = "" if cell.budget is None else cell.budget.text()
    aliases = ("no defense", "undefended") if cell.defense == "none" else ()
    names = (cell.attack, cell.defense, cell.victim, cell.surrogate or "", cell.threat)
    return {_plain(name) for name in (*names, *aliases, eps, eps.removesuffix("/255"))}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
