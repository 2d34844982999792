"""The report's tables as plain text cells, for Markdown and LaTeX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nrpurify.report.aggregate import Mean
from nrpurify.report.breakdown import Breakdown, Line, breakdowns, interval
from nrpurify.report.matrix import Matrix, matrix
from nrpurify.report.paper_comparison import ComparisonTable, compare_with_paper
from nrpurify.report.run import Run
from nrpurify.report.threats import CLEAN

MISSING = "–"


@dataclass(frozen=True)
class TextCell:
    """Text of a table, and what is known of the number in it.

    Attributes:
        text: As it is shown.
        best: Whether it is the best of its row.
        warned: Places of the warnings about it among the run's.
        misjudged: Whether it flatters its defense, see :class:`nrpurify.report.run.Cell`.
    """

    text: str
    best: bool = False
    warned: Sequence[int] = ()
    misjudged: bool = False


@dataclass(frozen=True)
class TextTable:
    """Title, heading and groups of rows; all rows are as long as the heading.

    The first ``names`` columns hold words, the others numbers. ``key`` is unique in a run.
    """

    key: str
    title: str
    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[TextCell]]]
    names: int = 1

    @property
    def warned(self) -> list[int]:
        """Places of the warnings about its cells among the run's, in order."""
        cells = (cell for group in self.groups for row in group for cell in row)
        return sorted({place for cell in cells for place in cell.warned})


def text_tables(run: Run) -> list[TextTable]:
    """For each (task, metric) the matrix and every attack in full; then those of the paper."""
    tables = []
    for kind in run.kinds():
        tables.append(_of_matrix(matrix(run, kind)))
        tables += [_of_breakdown(one) for one in breakdowns(run, kind)]
    tables += [_of_comparison(one) for one in compare_with_paper(run)]
    return [replace(table, key=key) for table, key in zip(tables, _keys(tables), strict=True)]


def _keys(tables: Sequence[TextTable]) -> Iterator[str]:
    """The tables' keys, with a number where one comes again."""
    seen: Counter[str] = Counter()
    for table in tables:
        seen[table.key] += 1
        yield table.key if seen[table.key] == 1 else f"{table.key}-{seen[table.key]}"


def _slug(*parts: str) -> str:
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", p.lower()).strip("-") for p in parts)))


def name_of(kind: tuple[str, str]) -> str:
    """(Task, metric) in words: ``accuracy``, ``mAP50 (detect)``."""
    task, metric = kind
    return metric if task == "classify" else f"{metric} ({task})"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def _mean(one: Mean | None, best: bool = False) -> TextCell:
    if one is None:
        return TextCell(MISSING)
    return TextCell(_number(one.value), best, one.warned, one.misjudged)


def _words(*texts: str) -> list[TextCell]:
    return [TextCell(text) for text in texts]


def _of_matrix(matrix: Matrix) -> TextTable:
    budget = "" if matrix.budget is None else f", ε = {matrix.budget.text()}"
    groups = [
        [
            _words(_known(group.threat), _label(row.label, row.detail))
            + [_mean(row.means.get(d), row.is_best(d)) for d in matrix.defenses]
            for row in group.rows
        ]
        for group in matrix.groups
    ]
    title = f"{name_of(matrix.kind)}, %, mean over victims{budget}"
    key = _slug(*matrix.kind)
    return TextTable(key, title, ["threat", "attack", *matrix.defenses], groups, names=2)


def _of_breakdown(one: Breakdown) -> TextTable:
    title = f"{name_of(one.kind)}, %: {_label(one.attack, one.detail)}, {_known(one.threat)}"
    victims = [f"{v} (surrogate)" if v in one.surrogates else v for v in one.victims]
    rows = [_line(line, one.victims) for line in one.lines]
    key = _slug(*one.kind, one.threat, one.attack)
    return TextTable(key, title, ["defense", *victims, "mean"], [rows])


def _line(line: Line, victims: Sequence[str]) -> list[TextCell]:
    found = [line.victims.get(victim) for victim in victims]
    numbers = [TextCell(MISSING) if one is None else _with_interval(one) for one in found]
    return [*_words(line.defense), *numbers, _mean(line.mean)]


def _with_interval(one: Mean) -> TextCell:
    ends, cell = interval(one), _mean(one)
    span = "" if ends is None else f" [{_number(ends[0])}, {_number(ends[1])}]"
    return replace(cell, text=cell.text + span)


def _of_comparison(one: ComparisonTable) -> TextTable:
    rows = [_words(row, *(_pair(one, row, column) for column in one.columns)) for row in one.rows]
    percent = ", %" if one.columns else ""
    title = ", ".join([f"{one.where}: the paper / here{percent}", *one.metrics])
    return TextTable(_slug("paper", one.where), title, ["row", *one.columns], [rows])


def _pair(table: ComparisonTable, row: str, column: str) -> str:
    pair = table.rows[row].get(column)
    return MISSING if pair is None else f"{_number(pair.paper)} / {_number(pair.here)}"


def _known(threat: str) -> str:
    return "no attack" if threat == CLEAN else threat


def _label(name: str, detail: str) -> str:
    return f"{name} ({detail})" if detail else name
