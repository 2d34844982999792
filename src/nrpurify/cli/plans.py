"""Running a plan from a command: progress, tables, and files that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nrpurify.cli.output import (
    check_result_file,
    exit_if_unread,
    note,
    note_precision,
    print_json,
    print_table,
    print_wide_table,
    progress_bar,
)
from nrpurify.core.files import write_json
from nrpurify.core.progress import NO_VALUES
from nrpurify.evaluation.progress import EvaluationProgress

if TYPE_CHECKING:
    from rich.progress import Progress

    from nrpurify.evaluation import EvaluationPlan
    from nrpurify.results import Result, Run


def is_json(out: Path | None) -> bool:
    """Whether ``--out`` names a JSON file, and not the folder of a run."""
    return out is not None and out.suffix.lower() == ".json"


def run_and_show(plan: EvaluationPlan, out: Path | None, *, as_json: bool, **options: Any) -> None:
    """Run a plan, print its tables, and end with exit code 1 if files could not be read.

    Args:
        plan: What to measure.
        out: A JSON file, the folder of a run, or None.
        as_json: Print JSON in place of tables.
        options: Others of :func:`nrpurify.evaluation.run`.
    """
    from nrpurify import evaluation
    from nrpurify.evaluation.summary import is_simple, summarize

    folder = None if is_json(out) else out
    if out is not None and folder is None:
        check_result_file(out, {"settings"})
    with progress_bar() as progress:
        run = evaluation.run(plan, folder, progress=PlanProgress(progress), **options)
    result = summarize(run) if is_simple(plan) else run.to_dict()
    if as_json:
        print_json(result)
    elif is_simple(plan):
        show_accuracy(result)
    else:
        show_tables(run)
    note_precision(run, "transfers and the defenses against them")
    if folder is not None:
        note(f"run: {folder / 'run.json'}; see it with `nrpurify report {folder}`")
    elif out is not None:
        write_json(out, result)
        note(f"results: {out}")
    end(run)


def show_accuracy(result: Mapping[str, Any]) -> None:
    """Print the accuracy of each victim under each condition, in percent."""
    from nrpurify.evaluation.table import MISSING

    conditions = list(result["mean"])
    rows = {**result["victims"], "mean": result["mean"]}
    cells = [
        [name, *(MISSING if row[c] is None else f"{100 * row[c]:.1f}" for c in conditions)]
        for name, row in rows.items()
    ]
    print_table(["accuracy, %", *(name.replace("_", " ") for name in conditions)], cells)


def show_tables(run: Run) -> None:
    """Print a table for each metric, in percent, and what the mark † in them means."""
    from nrpurify.evaluation.table import MARK, tables
    from nrpurify.results.misjudged import MISJUDGED

    found = tables(run)
    for (header, rows), keys in found:
        print_wide_table(header, rows, keys)
    if any(cell.endswith(MARK) for (_, rows), _ in found for row in rows for cell in row):
        typer.echo(f"{MARK.strip()} {MISJUDGED}")


def end(run: Run) -> None:
    """Name the files that are in no result, and end with exit code 1 if there are some."""
    exit_if_unread(run.images.get("broken") or [], "file")


class PlanProgress(EvaluationProgress):
    """Shows results and images as they are done, and warnings as they come up."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cells = progress.add_task("results", total=None)
        self.work = progress.add_task("images", total=None)

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        """Move the bar of images."""
        self.progress.update(self.work, description=what, completed=done, total=total)

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Move the bar of results."""
        self.progress.update(self.cells, completed=done, total=total)

    def warned(self, warning: Mapping[str, Any]) -> None:
        """Print a warning."""
        note(f"warning, {warning['kind']}: {warning['text']}")
