"""Table 5: SSP as an attack beside seven others, transferred to eight classifiers."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure

VICTIMS = (
    "Inc-v3",
    "Inc-v4",
    "Res-152",
    "IncRes-v2",
    "VGG-19",
    "Adv-v3",
    "Inc-v3-ens3",
    "IncRes-v2-ens",
)
ATTACKS = {
    "FGSM": "fgsm",
    "R-FGSM": "r-fgsm",
    "I-FGSM": "i-fgsm",
    "MI-FGSM": "mi-fgsm",
    "TAP": "tap",
    "DIM": "dim",
}


def _place(spot: Spot) -> tuple[str, str] | None:
    return spot.line, f"{spot.victim} T-1"


GRID = Grid(
    lines=(
        *(
            Line(f"{source} · {heading}", attack, (source,))
            for source in ("Res-152", "VGG16")
            for heading, attack in ATTACKS.items()
        ),
        Line("VGG16 · FFF", "fff"),
        Line("VGG16 · SSP", "ssp"),
    ),
    victims=VICTIMS,
    place=_place,
    metrics=("accuracy", "top5"),
)


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the grid by its first and its five first answers."""
    return measure(bench, experiment, GRID)
