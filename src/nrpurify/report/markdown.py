"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nrpurify.report.matrix import matrix
from nrpurify.report.run import Run
from nrpurify.report.summary import sentence
from nrpurify.report.tables import TextTable, name_of, text_tables


def render_markdown(run: Run) -> str:
    """Title, summary, warnings and all tables, in GitHub's dialect."""
    parts = [f"# {escape(run.title)}"]
    for kind in run.kinds():
        parts.append(f"**{escape(name_of(kind))}**: {escape(sentence(matrix(run, kind)))}")
    if run.warnings:
        parts.append("## Warnings")
        parts.append("\n".join(f"- {escape(str(w.get('text', w['kind'])))}" for w in run.warnings))
    parts += ["## Tables", *(_table(table) for table in text_tables(run))]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


def _table(table: TextTable) -> str:
    numbers = ["---"] * table.names + ["---:"] * (len(table.header) - table.names)
    rows = [table.header, *(row for group in table.groups for row in group)]
    lines = [_row(row) for row in rows]
    return "\n".join([f"### {escape(table.title)}", "", lines[0], _raw(numbers), *lines[1:]])


def _row(cells: Sequence[str]) -> str:
    return _raw([escape(cell) for cell in cells])


def _raw(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
