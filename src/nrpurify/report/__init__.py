"""Results as one self-contained HTML page (extra ``report``), as Markdown or as LaTeX."""

from nrpurify.report.latex import render_latex
from nrpurify.report.markdown import render_markdown
from nrpurify.report.page import Panel, Strip, difference_panel, render_demo, write_demo
from nrpurify.report.run import Cell, Run, parse_run, read_run
from nrpurify.report.run_page import render_run
from nrpurify.report.write import write_report

__all__ = [
    "Cell",
    "Panel",
    "Run",
    "Strip",
    "difference_panel",
    "parse_run",
    "read_run",
    "render_demo",
    "render_latex",
    "render_markdown",
    "render_run",
    "write_demo",
    "write_report",
]
