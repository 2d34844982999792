"""``nrpurify report``: from a run folder to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from nrpurify.core.errors import InputError
from nrpurify.core.files import write_text
from nrpurify.report.drawings import read_drawings
from nrpurify.report.latex import render_latex
from nrpurify.report.markdown import render_markdown
from nrpurify.report.paper_claims import read_claims
from nrpurify.report.pictures import read_strips
from nrpurify.report.run import Run, read_run
from nrpurify.report.run_page import render_run

Format = Literal["html", "markdown", "latex"]
ENDINGS: dict[Format, str] = {"html": ".html", "markdown": ".md", "latex": ".tex"}
_FORMATS = {ending: name for name, ending in ENDINGS.items()}


def write_report(
    folder: str | Path, out: str | Path | None = None, *, format: Format | None = None
) -> Path:
    """Report the run in ``folder`` and return the file that was written, atomically.

    Args:
        folder: Where the evaluation left its ``run.json``.
        out: The file; by default ``report`` with the format's ending, in ``folder``.
        format: ``html``: one self-contained page. ``markdown``, ``latex``: its tables, the first
            also with what the paper says. By default that of the ending of ``out``; ``html`` if no
            file is given.

    Raises:
        InputError: The format or the ending of ``out`` is unknown, or ``folder`` has no run that
            an evaluation wrote.
        ImageError: A picture of the run cannot be read.
        MissingExtraError: jinja2 is not installed (html).
        OSError: The file cannot be written.
    """
    if format is None:
        format = _format_of(out) if out is not None else "html"
    if format not in ENDINGS:
        raise InputError(f"format is {format!r}; expected one of {', '.join(get_args(Format))}")
    run = read_run(folder)
    path = Path(folder) / f"report{ENDINGS[format]}" if out is None else Path(out)
    write_text(path, _render(run, Path(folder), format))
    return path


def _format_of(out: str | Path) -> Format:
    ending = Path(out).suffix.lower()
    if ending not in _FORMATS:
        raise InputError(
            f"cannot tell the format of {str(out)!r} by its ending, {ending or 'that is missing'}; "
            "expected .html, .md or .tex, or a format (--format)"
        )
    return _FORMATS[ending]


def _render(run: Run, folder: Path, format: Format) -> str:
    if format == "html":
        said = read_claims(run)
        drawings = read_drawings(said.files if said else (), folder)
        return render_run(run, read_strips(run, folder), drawings)
    return render_markdown(run) if format == "markdown" else render_latex(run)
