"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nrpurify.report.matrix import matrix
from nrpurify.report.paper_claims import PaperClaims, read_claims
from nrpurify.report.run import Run
from nrpurify.report.summary import sentence
from nrpurify.report.tables import TextCell, TextTable, name_of, text_tables
from nrpurify.results.misjudged import MISJUDGED


def render_markdown(run: Run) -> str:
    """Title, summary, warnings, what the paper says and all tables, in GitHub's dialect."""
    parts = [f"# {escape(run.title)}"]
    for kind in run.kinds():
        parts.append(f"**{escape(name_of(kind))}**: {escape(sentence(matrix(run, kind)))}")
    if run.warnings:
        parts.append("## Warnings")
        parts.append("\n".join(f"- {escape(str(w.get('text', w['kind'])))}" for w in run.warnings))
    if (said := read_claims(run)) is not None:
        parts += ["## What the paper says, and what was found", *_claims(said)]
    parts += ["## Tables", *(_table(table) for table in text_tables(run))]
    if any(cell.misjudged for cell in run.cells):
        parts.insert(parts.index("## Tables") + 1, f"† {escape(MISJUDGED)}")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


def _claims(said: PaperClaims) -> list[str]:
    scale = f" (scale {escape(said.scale)})" if said.scale else ""
    parts = [f"**Measured in the paper**: {escape(said.measured)}"] if said.measured else []
    parts += [f"**Measured here{scale}**: {escape(said.instead)}"] if said.instead else []
    if said.findings:
        rows = [_row([one.claim, one.here or "not looked at"]) for one in said.findings]
        parts.append("\n".join([_row(["the paper says", "measured here"]), "| --- | --- |", *rows]))
    return parts


def _table(table: TextTable) -> str:
    numbers = ["---"] * table.names + ["---:"] * (len(table.header) - table.names)
    lines = [_raw([_cell(cell) for cell in row]) for group in table.groups for row in group]
    head = [f"### {escape(table.title)}", "", _row(table.header), _raw(numbers)]
    return "\n".join([*head, *lines])


def _cell(cell: TextCell) -> str:
    text = f"**{escape(cell.text)}**" if cell.best else escape(cell.text)
    return f"{text} †" if cell.misjudged else text


def _row(cells: Sequence[str]) -> str:
    return _raw([escape(cell) for cell in cells])


def _raw(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
