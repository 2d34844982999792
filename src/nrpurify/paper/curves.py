"""Figures over iterations: figure 3 and appendix figure 6."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.evaluation.cache import stored_images
from nrpurify.models import features
from nrpurify.paper import plots
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.provenance import hashes
from nrpurify.results import Result

Curves = dict[str, dict[float, float]]


def _grid(bench: Bench, attacks: dict[str, str], source: str, victim: str) -> Grid:
    counts = {"smoke": (1, 2), "small": (2, 5, 10, 20, 40), "full": (2, 5, 10, 20, 40, 100)}
    return Grid(
        lines=tuple(
            Line(
                f"{heading} · {steps}",
                attack,
                () if attack == "ssp" else (source,),
                {"steps": steps},
            )
            for heading, attack in attacks.items()
            for steps in counts[bench.scale]
        ),
        victims=(victim,),
        place=_place,
    )


def _place(spot: Spot) -> tuple[str, str] | None:
    if not spot.eps:
        return "no attack", "accuracy"
    heading, steps = spot.line.split(" · ")
    return heading, f"{steps} iterations"


def _curves(outcome: Outcome) -> Curves:
    """Accuracy in percent by attack and iterations."""
    cells = {cell.id: cell for cell in outcome.run.cells}
    found: Curves = {}
    for name, (heading, column) in outcome.places.items():
        if column.endswith("iterations"):
            found.setdefault(heading, {})[float(column.split()[0])] = 100 * cells[name].value
    return {heading: dict(sorted(points.items())) for heading, points in found.items()}


@torch.no_grad()
def _distortion(bench: Bench, outcome: Outcome) -> Curves:
    """Mean absolute change of VGG16's conv3_3, by attack and iterations."""
    extractor = features.feature_extractor("vgg16").to(bench.device)
    used = hashes(bench, {"features of vgg16": extractor})
    known = outcome.run.weights_sha256
    outcome.run = replace(outcome.run, weights_sha256={**known, **used})
    images, _, names = bench.load()
    clean = [extractor(image)[0] for image in torch.split(images, 1)]
    found: Curves = {}
    for cell in outcome.run.cells:
        if cell.attack != "clean":
            attacked = attacked_images(bench.out, cell, names).to(images)
            pairs = zip(clean, torch.split(attacked, 1), strict=True)
            changes = [float((extractor(x)[0] - kept).abs().mean()) for kept, x in pairs]
            heading, column = outcome.places[cell.id]
            steps = float(column.split()[0])
            found.setdefault(heading, {})[steps] = sum(changes) / len(changes)
    return {heading: dict(sorted(points.items())) for heading, points in found.items()}


def _told(curves: Curves, unit: str) -> str:
    return "; ".join(
        f"{heading}: "
        + ", ".join(f"{value:.3g}{unit} at {steps:g}" for steps, value in points.items())
        for heading, points in curves.items()
    )


def _figure3(bench: Bench, experiment: Experiment) -> Outcome:
    grid = _grid(bench, {"I-FGSM": "i-fgsm", "MI-FGSM": "mi-fgsm"}, "Inc-v3", "Inc-v4")
    outcome = measure(bench, experiment, grid)
    fooled = {
        heading: {steps: 100 - value for steps, value in points.items()}
        for heading, points in _curves(outcome).items()
    }
    moved = _distortion(bench, outcome)
    across = "iterations"
    for file, curves, up in (
        ("fooling.svg", fooled, "fooling rate, %"),
        ("distortion.svg", moved, "mean |change| of VGG16 conv3_3"),
    ):
        plots.lines(bench.out / file, curves, title="Figure 3", across=across, up=up)
        outcome.files.append(file)
    here = f"fooling rate {_told(fooled, ' %')}. Distortion {_told(moved, '')}"
    outcome.findings.append(Finding(experiment.claims[0], here))
    return outcome


def _figure6(bench: Bench, experiment: Experiment) -> Outcome:
    attacks = {"I-FGSM": "i-fgsm", "MI-FGSM": "mi-fgsm", "DIM": "dim", "SSP": "ssp"}
    grid = _grid(bench, attacks, "VGG16", "Inc-v3")
    outcome = measure(bench, experiment, grid)
    curves = _curves(outcome)
    plots.lines(
        bench.out / "iterations.svg",
        curves,
        title="Appendix figure 6",
        across="iterations",
        up="accuracy, %",
    )
    outcome.files.append("iterations.svg")
    outcome.findings.append(Finding(experiment.claims[0], _told(curves, " %")))
    return outcome


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Attack with growing numbers of steps, and draw the curves."""
    draw = _figure3 if experiment.name == "figure3" else _figure6
    return draw(bench, experiment)


def attacked_images(run: Path, cell: Result, names: list[str]) -> Tensor:
    """The images N×3×H×W in [0, 1] behind a cell of a transfer.

    Args:
        run: The run's folder.
        cell: One of its cells.
        names: Of the images, as the grid calls them.

    Raises:
        InputError: They are not there.
    """
    folder = run / "adversaries" / Path(cell["settings"].get("adversaries") or "").name
    found = stored_images(folder, names)
    if found is None:
        raise InputError(f"{run} has no attacked images of the cell {cell['id']}; run it again")
    return found
