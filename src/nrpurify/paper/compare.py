"""The paper's numbers and those measured here, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.results import Result


@dataclass(frozen=True)
class Row:
    """One place of a table.

    Attributes:
        row: Its row's heading.
        column: Its column's heading.
        paper: The paper's number, with its unit where that is not percent; a dash where it has
            none.
        here: Ours, with its 95 % interval and n; a dash where nothing was measured.
        what: What was measured here: victim, surrogate and defense.
    """

    row: str
    column: str
    paper: str
    here: str
    what: str = ""


def side_by_side(experiment: Experiment, outcome: Outcome) -> list[Row]:
    """Every number of the paper beside ours, then ours that the paper lacks."""
    cells = {cell.id: cell for cell in outcome.run.cells}
    ours = {place: cells[name] for name, place in outcome.places.items() if name in cells}
    rows = []
    for quoted in experiment.quoted:
        place = (quoted.row, quoted.column)
        if place in outcome.words:
            rows.append(Row(*place, quoted.text, outcome.words[place]))
        else:
            rows.append(_row(*place, quoted.text, ours.pop(place, None), experiment.success))
    return rows + [_row(*place, "—", cell, experiment.success) for place, cell in ours.items()]


def _row(row: str, column: str, paper: str, cell: Result | None, success: bool) -> Row:
    if cell is None:
        return Row(row, column, paper, "—")
    return Row(row, column, paper, shown(cell, success), _what(cell))


def shown(cell: Result, success: bool) -> str:
    """A cell in percent with its interval; under attack as success rate if the paper's table has
    these, on clean images always as what was measured.
    """
    low, high = cell.interval or (cell.value, cell.value)
    value = cell.value
    if success and cell.threat != "none":
        value, low, high = 1 - value, 1 - high, 1 - low
    return f"{100 * value:.1f} [{100 * low:.0f}, {100 * high:.0f}] n={cell.n}"


def _what(cell: Result) -> str:
    attacked = f"{cell.surrogate} → " if cell.surrogate else ""
    defended = "" if cell.defense == "none" else f" behind {cell.defense.split(':')[0]}"
    return f"{attacked}{cell.victim}{defended}"


def paper_entries(experiment: Experiment, outcome: Outcome) -> list[dict[str, Any]]:
    """The paper's numbers for ``run.json``: place, unit, metric, and our cell or words."""
    ours = {place: name for name, place in outcome.places.items()}
    return [
        {
            "where": experiment.where,
            "row": quoted.row,
            "column": quoted.column,
            "value": quoted.value,
            "unit": quoted.unit,
            "metric": quoted.metric,
            "cells": [ours[place]] if place in ours else [],
            "here": outcome.words.get(place),
        }
        for quoted in experiment.quoted
        for place in [(quoted.row, quoted.column)]
    ]
