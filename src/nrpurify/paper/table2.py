"""Table 2: CDA against input transformations and NRP, on three tasks."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.cross_task import Part
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import with_measured
from nrpurify.results import Result

DOMAINS = ("ImageNet", "Comics", "Paintings")
DEFENSES = {
    "No Defense": "none",
    "JPEG (q=75)": "jpeg:quality=75",
    "JPEG (q=50)": "jpeg:quality=50",
    "JPEG (q=20)": "jpeg:quality=20",
    "TVM (w=10)": "tvm:weight=10",
    "TVM (w=30)": "tvm:weight=30",
    "MF (win=3)": "median:size=3",
    "NRP": "nrp",
}


def _column(domain: str, eps: int) -> str:
    return f"{domain} ε {eps}" if eps else "No Attack"


def _place(spot: Spot) -> tuple[str, str] | None:
    return f"Classification · {spot.defense}", _column(spot.line, spot.eps)


def _label(task: str, cell: Result, defense: str) -> tuple[str, str]:
    eps = round(255 * (cell.eps or 0))
    return f"{task} · {defense}", _column(cell.label, eps)


GRID = Grid(
    lines=tuple(Line(domain, "cda", domain=domain) for domain in DOMAINS),
    victims=("IncRes-v2-ens",),
    defenses=DEFENSES,
    eps=(8, 16),
    place=_place,
    small={"IncRes-v2-ens": "efficientnet_lite2"},
)
PARTS = tuple(
    Part(
        task,
        "Mask-RCNN",
        {"cda": (8, 16)},
        DEFENSES,
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
