"""``nrpurify report``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.output import note

EXAMPLES = """Examples:

nrpurify report runs/grid

nrpurify report runs/grid --out tables.tex"""


class FormatChoice(StrEnum):
    """What ``--format`` takes."""

    HTML = "html"
    MARKDOWN = "markdown"
    LATEX = "latex"


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="Folder in which an evaluation left run.json.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write.", show_default="report.html (.md, .tex) in RUN_DIR"),
    ] = None,
    format: Annotated[
        FormatChoice | None,
        typer.Option(
            "--format",
            help="One self-contained page, or tables.",
            show_default="by the ending of --out; html without --out",
        ),
    ] = None,
) -> None:
    """Report an evaluation: which defense helps against what, and what adaptive attacks leave."""
    from nrpurify.report import write_report

    path = write_report(folder, out, format=None if format is None else format.value)
    note(f"report: {path}")
