"""The compact tables of a run on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nrpurify.results import variants
from nrpurify.results.budget import Budget
from nrpurify.results.misjudged import misjudged

MISSING, MARK = "–", " †"
"""Stands for a mean of nothing, and behind what flatters a defense."""
Table = tuple[list[str], list[list[str]]]
"""A header, and rows."""


def tables(run: Mapping[str, Any]) -> list[tuple[Table, int]]:
    """A table for each metric, in percent: attacks × defenses, for classification.

    Tasks of other kinds have a row for each defense and a column for each attack, as the paper.

    Args:
        run: As :func:`nrpurify.evaluation.run` returns it.

    Returns:
        Each table, and how many of its first columns say what a row is.
    """
    metrics = dict.fromkeys((cell["task"], cell["metric"]) for cell in run["cells"])
    found = []
    for task, metric in metrics:
        cells = [cell for cell in run["cells"] if (cell["task"], cell["metric"]) == (task, metric)]
        if task == "classify":
            found.append((compact_table({**run, "cells": cells}, metric), _TITLES))
        else:
            found.append((_by_defense(cells, metric), 1))
    return found


def compact_table(run: Mapping[str, Any], metric: str = "accuracy") -> Table:
    """One metric in percent, mean over the victims; a surrogate's own cell is in no mean.

    A mean with a value that flatters its defense has the mark †, see
    :mod:`nrpurify.results.misjudged`. Shares of no image are in no mean.

    Args:
        run: As :func:`nrpurify.evaluation.run` returns it.
        metric: Which one.

    Returns:
        Header, and a row for each attack, its settings, surrogate, eps and threat model.
    """
    cells = [cell for cell in run["cells"] if cell["metric"] == metric]
    defenses = list(dict.fromkeys(cell["defense"] for cell in cells))
    rows: dict[tuple[str, ...], dict[str, list[Mapping[str, Any]]]] = {}
    for cell, variant in zip(cells, variants(cells), strict=True):
        row = rows.setdefault(_title(cell, variant), {})
        counted = row.setdefault(cell["defense"], [])
        if cell["settings"].get("in_mean", True):
            counted.append(cell)
    bounds = misjudged(cells, run.get("warnings") or ())
    body = [
        [*title, *(_mean(row.get(name, []), bounds) for name in defenses)]
        for title, row in rows.items()
    ]
    return [f"{metric}, %", "surrogate", "eps", "threat", *defenses], body


_TITLES = 4
"""The first columns of a compact table."""


def _title(cell: Mapping[str, Any], variant: str) -> tuple[str, ...]:
    threat = f"EOT × {cell['draws']}" if cell["threat"] == "EOT" else cell["threat"]
    steps = f", {cell['steps']} steps" if (cell["steps"] or 1) > 1 else ""
    name = ", ".join(filter(None, (cell["attack"], variant)))
    return name + steps, cell["surrogate"] or "", _budget(cell), threat


def _budget(cell: Mapping[str, Any]) -> str:
    budget = Budget.of(cell["eps"], cell.get("norm"))
    return budget.text(6) if budget else ""


def _mean(cells: Sequence[Mapping[str, Any]], bounds: set[str]) -> str:
    cells = [cell for cell in cells if cell.get("n") != 0]
    if not cells:
        return MISSING
    mean = sum(cell["value"] for cell in cells) / len(cells)
    return f"{100 * mean:.1f}{MARK if any(cell['id'] in bounds for cell in cells) else ''}"


def _by_defense(cells: Sequence[Mapping[str, Any]], metric: str) -> Table:
    several = len({cell["victim"] for cell in cells}) > 1
    names = _columns(cells)
    columns = dict.fromkeys(names)
    rows: dict[str, dict[str, str]] = {}
    for cell, column in zip(cells, names, strict=True):
        row = f"{cell['victim']}, {cell['defense']}" if several else cell["defense"]
        rows.setdefault(row, {})[column] = _mean([cell], set())
    body = [[name, *(row.get(column, MISSING) for column in columns)] for name, row in rows.items()]
    return [f"{metric}, %", *columns], body


def _columns(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each cell its attack and budget, with steps and surrogate where these alone differ."""
    names = [_column(*pair) for pair in zip(cells, variants(cells), strict=True)]
    for field in ("steps", "surrogate"):
        known: dict[str, set[Any]] = {}
        for name, cell in zip(names, cells, strict=True):
            known.setdefault(name, set()).add(cell[field])
        names = [
            f"{name}, {field} {cell[field] or MISSING}" if len(known[name]) > 1 else name
            for name, cell in zip(names, cells, strict=True)
        ]
    return names


def _column(cell: Mapping[str, Any], variant: str) -> str:
    name = ", ".join(filter(None, (cell["attack"], variant)))
    return " ".join(filter(None, (name, _budget(cell))))
