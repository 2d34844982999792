"""The report's tables as LaTeX, for ``\\usepackage{booktabs}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nrpurify.report.matrix import matrix
from nrpurify.report.run import Run
from nrpurify.report.summary import sentence
from nrpurify.report.tables import TextCell, TextTable, text_tables

_ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "ε": r"$\varepsilon$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "[": "{[}",
    "]": "{]}",
}


def render_latex(run: Run) -> str:
    """All tables, to be put into a document with ``\\input``; the summary is a comment on top.

    Each has a ``\\label``, the best defense of a row in bold, and below it a note for each warning
    about its numbers. Warnings about no number in particular stand below the first table.
    """
    notes = ["Needs \\usepackage{booktabs}.", run.title]
    notes += [sentence(matrix(run, kind)) for kind in run.kinds()]
    comments = "\n".join(f"% {' '.join(note.split())}" for note in notes)
    tables = text_tables(run)
    marked = {place for table in tables for place in table.warned}
    texts = [str(warning.get("text", warning["kind"])) for warning in run.warnings]
    general = [text for place, text in enumerate(texts) if place not in marked]
    made = [_table(table, texts, () if number else general) for number, table in enumerate(tables)]
    return "\n\n".join([comments, *made]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(_ESCAPES.get(char, char) for char in " ".join(text.split()))


def _table(table: TextTable, warnings: Sequence[str], general: Sequence[str]) -> str:
    columns = "l" * table.names + "r" * (len(table.header) - table.names)
    marks = {place: _mark(number) for number, place in enumerate(table.warned)}
    groups = [
        "\n".join(_row([_cell(cell, marks) for cell in row]) for row in group)
        for group in table.groups
    ]
    body = "\n\\midrule\n".join([_row([escape(name) for name in table.header]), *groups])
    notes = [rf"\textsuperscript{{{mark}}} {escape(warnings[k])}" for k, mark in marks.items()]
    notes += [escape(text) for text in general]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.title)}}}",
            rf"\label{{tab:{table.key}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\smallskip{{\footnotesize {note}\par}}" for note in notes),
            r"\end{table}",
        ]
    )


def _mark(number: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab`` ..."""
    more, last = divmod(number, 26)
    return (_mark(more - 1) if more else "") + chr(ord("a") + last)


def _cell(cell: TextCell, marks: Mapping[int, str]) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)
    own = ",".join(marks[place] for place in cell.warned)
    return text + (rf"\textsuperscript{{{own}}}" if own else "")


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
