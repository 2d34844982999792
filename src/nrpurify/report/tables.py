"""The report's tables as plain text cells, for Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrpurify.report.beside import Beside, beside
from nrpurify.report.breakdown import Breakdown, Line, breakdowns, interval
from nrpurify.report.choose import Mean
from nrpurify.report.environment import eps_text
from nrpurify.report.matrix import Matrix, matrix
from nrpurify.report.run import Run
from nrpurify.report.threats import CLEAN

MISSING = "–"


@dataclass(frozen=True)
class TextTable:
    """Title, heading and groups of rows; all rows are as long as the heading.

    The first ``names`` columns hold words, the others numbers.
    """

    title: str
    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]
    names: int = 1


def text_tables(run: Run) -> list[TextTable]:
    """For each (task, metric) the matrix and every attack in full; then those of the paper."""
    tables = []
    for kind in run.kinds():
        tables.append(_of_matrix(matrix(run, kind)))
        tables += [_of_breakdown(one) for one in breakdowns(run, kind)]
    return tables + [_of_beside(one) for one in beside(run)]


def name_of(kind: tuple[str, str]) -> str:
    """(Task, metric) in words: ``accuracy``, ``mAP50 (detect)``."""
    task, metric = kind
    return metric if task == "classify" else f"{metric} ({task})"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def _mean(one: Mean | None) -> str:
    return _number(None if one is None else one.value)


def _of_matrix(matrix: Matrix) -> TextTable:
    budget = "" if matrix.eps is None else f", ε = {eps_text(matrix.eps)}"
    groups = [
        [
            [_known(group.threat), _label(row.label, row.detail)]
            + [_mean(row.means.get(defense)) for defense in matrix.defenses]
            for row in group.rows
        ]
        for group in matrix.groups
    ]
    title = f"{name_of(matrix.kind)}, %, mean over victims{budget}"
    return TextTable(title, ["threat", "attack", *matrix.defenses], groups, names=2)


def _of_breakdown(one: Breakdown) -> TextTable:
    title = f"{name_of(one.kind)}, %: {_label(one.attack, one.detail)}, {_known(one.threat)}"
    victims = [f"{v} (surrogate)" if v in one.surrogates else v for v in one.victims]
    rows = [_line(line, one.victims) for line in one.lines]
    return TextTable(title, ["defense", *victims, "mean"], [rows])


def _line(line: Line, victims: Sequence[str]) -> list[str]:
    found = [line.victims.get(victim) for victim in victims]
    numbers = [MISSING if one is None else _with_interval(one) for one in found]
    return [line.defense, *numbers, _mean(line.mean)]


def _with_interval(one: Mean) -> str:
    ends = interval(one)
    return _mean(one) + ("" if ends is None else f" [{_number(ends[0])}, {_number(ends[1])}]")


def _of_beside(one: Beside) -> TextTable:
    rows = [[row, *(_pair(one, row, column) for column in one.columns)] for row in one.rows]
    percent = ", %" if one.columns else ""
    title = ", ".join([f"{one.where}: the paper / here{percent}", *one.metrics])
    return TextTable(title, ["row", *one.columns], [rows])


def _pair(table: Beside, row: str, column: str) -> str:
    pair = table.rows[row].get(column)
    return MISSING if pair is None else f"{_number(pair.paper)} / {_number(pair.here)}"


def _known(threat: str) -> str:
    return "no attack" if threat == CLEAN else threat


def _label(name: str, detail: str) -> str:
    return f"{name} ({detail})" if detail else name
