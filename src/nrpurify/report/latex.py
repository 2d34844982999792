"""The report's tables as LaTeX, for ``\\usepackage{booktabs}``."""

from __future__ import annotations

from collections.abc import Sequence

from nrpurify.report.matrix import matrix
from nrpurify.report.run import Run
from nrpurify.report.summary import sentence
from nrpurify.report.tables import TextTable, text_tables

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
    """All tables, to be put into a document with ``\\input``; the summary and the warnings stand
    above them as comments.
    """
    notes = ["Needs \\usepackage{booktabs}.", run.title]
    notes += [sentence(matrix(run, kind)) for kind in run.kinds()]
    notes += [f"Warning: {warning.get('text', warning['kind'])}" for warning in run.warnings]
    comments = "\n".join(f"% {' '.join(note.split())}" for note in notes)
    return "\n\n".join([comments, *(_table(table) for table in text_tables(run))]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(_ESCAPES.get(char, char) for char in " ".join(text.split()))


def _table(table: TextTable) -> str:
    columns = "l" * table.names + "r" * (len(table.header) - table.names)
    groups = ["\n".join(_row(row) for row in group) for group in table.groups]
    body = "\n\\midrule\n".join([_row(table.header), *groups])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"
