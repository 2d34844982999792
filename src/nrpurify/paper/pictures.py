"""The figures of attacked and purified pictures: 6, 7, and 2, 7, 8, 9 of the appendix."""

from __future__ import annotations

from dataclasses import dataclass

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.strips import add_strips

ENSEMBLE = ("Inc-v3", "Inc-v4", "IncRes-v2", "Res-152")
CAST = {"Inc-v4": "squeezenet1_1", "IncRes-v2-ens": "efficientnet_lite2"}
DIM = Line("DIM", "dim", ENSEMBLE)
DIM_TI = Line("DIM-TI", "dim-ti", ENSEMBLE)
MI_FGSM = Line("MI-FGSM", "mi-fgsm", ("Inc-v3",))
CDA = Line("CDA", "cda")


def _ssp_in(network: str, layer: str) -> Line:
    return Line(f"SSP in {network}", "ssp", (), {"surrogate": [network], "layer": [layer]})


SPACES = (
    _ssp_in("vgg16", "conv3_3"),
    _ssp_in("hed_vgg16", "conv3_3"),
    _ssp_in("alexnet", "conv3"),
    _ssp_in("squeezenet1_1", "fire5"),
)
ADVERSARIAL = _ssp_in("timm:inception_v3.tf_adv_in1k", "network.Mixed_5d")
"""SSP in an adversarially trained network, which only hubs have: for the scale full."""


@dataclass(frozen=True)
class Gallery:
    """A figure of attacked and purified pictures.

    Attributes:
        lines: Attacks.
        full: Attacks of the scale full, where they are others.
    """

    lines: tuple[Line, ...]
    full: tuple[Line, ...] = ()


_GALLERIES = {
    "figure6": Gallery((*SPACES[:2], MI_FGSM, DIM_TI), (SPACES[0], ADVERSARIAL, MI_FGSM, DIM_TI)),
    "figure7": Gallery((DIM, DIM_TI)),
    "appendix-figure2": Gallery(SPACES, (*SPACES, ADVERSARIAL)),
    "appendix-figure7": Gallery(SPACES[1:2], (ADVERSARIAL,)),
    "appendix-figure8": Gallery((DIM, DIM_TI)),
    "appendix-figure9": Gallery((CDA,)),
}


def _place(spot: Spot) -> tuple[str, str] | None:
    return spot.line, spot.defense


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Attack, purify and draw the first images as strips."""
    gallery = _GALLERIES[experiment.name]
    grid = Grid(
        lines=(gallery.full if bench.scale == "full" else ()) or gallery.lines,
        victims=("IncRes-v2-ens",),
        defenses={"no defense": "none", "NRP": "nrp"},
        place=_place,
        small=CAST,
    )
    outcome = measure(bench, experiment, grid)
    add_strips(bench, outcome, bench.pick(2, 5, 10))
    cells = {cell.id: cell for cell in outcome.run.cells}
    shares = "; ".join(
        f"{row}, {column}: {cells[name].value:.0%} right"
        for name, (row, column) in outcome.places.items()
    )
    count = len(outcome.run.strips)
    outcome.findings.append(Finding(experiment.claims[0], f"{count} strips in strips/. {shares}"))
    return outcome
