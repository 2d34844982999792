"""Table 2: CDA against input transformations and NRP, on three tasks."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.cross_task import Part
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import measure
from nrpurify.paper.planned import read_plan
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import with_measured
from nrpurify.results import Result

GRID = read_plan("table2")


def _label(task: str, cell: Result, defense: str) -> tuple[str, str]:
    eps = round(255 * (cell.eps or 0))
    return f"{task} · {defense}", f"{cell.label} ε {eps}" if eps else "No Attack"


PARTS = tuple(
    Part(
        task,
        "Mask-RCNN",
        {"cda": (8, 16)},
        GRID.defenses,
        lambda cell, defense, heading=heading: _label(heading, cell, defense),  # type: ignore[misc]
    )
    for task, heading in (("detect", "Detection"), ("instances", "Segmentation"))
)


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the classifier's grid, then the detector's parts, where there are data for them."""
    outcome = measure(bench, experiment, GRID)
    found: list[Measured] = []
    for part in PARTS:
        reason = part.lacking(bench)
        if not reason and not bench.generators():
            reason = "there is no trained generator"
        if reason:
            text = f"{part.victim}, {part.task}: {reason}"
            outcome.warn("left out", text)
            continue
        found.append(part.measure(bench))
        outcome.places |= part.places(bench, found[-1].cells)
    if found:
        outcome.run = with_measured(outcome.run, found)
    return outcome
