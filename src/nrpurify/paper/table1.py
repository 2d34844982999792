"""Table 1: black-box attacks against eight defenses in front of one adversarially trained model."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.budget import budget
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.trained import RECIPES, base, train_one

COLUMNS = {
    "FGSM": "fgsm",
    "FGSM-TI": "fgsm-ti",
    "MI-FGSM": "mi-fgsm",
    "MI-FGSM-TI": "mi-fgsm-ti",
    "DIM": "dim",
    "DIM-TI": "dim-ti",
}
SOURCES = {
    "Inc-v3": ("Inc-v3",),
    "Inc-v4": ("Inc-v4",),
    "IncRes-v2": ("IncRes-v2",),
    "Res-152": ("Res-152",),
    "Ensemble": ("Inc-v3", "Inc-v4", "IncRes-v2", "Res-152"),
}
DEFENSES = {
    "no defense": "none",
    "JPEG": "jpeg:quality=75",
    "TVM": "tvm:weight=30",
    "NIPS-r3": "nips-r3",
    "R&P": "rp:passes=30",
    "HGD": "hgd",
    "APE-GAN": "ape-gan",
    "SR": "sr",
    "NRP": "nrp",
}
EQUAL = "NRP at their budget"
"""Beside the bench's purifier, one with the training that HGD, APE-GAN and SR get here."""
VICTIM = "IncRes-v2-ens"

CAST = {"Inc-v4": "squeezenet1_1", VICTIM: "efficientnet_lite2"}
"""At the scale small: the victim is none of the sources."""


def _place(spot: Spot) -> tuple[str, str] | None:
    if not spot.eps:
        return f"No attack · {spot.defense}", "accuracy"
    source, attack = spot.line.split(" · ")
    return f"{source} · {spot.defense}", attack


def _train(bench: Bench) -> dict[str, str]:
    """Train what is missing of the trained defenses; all defenses, by the paper's name."""
    if bench.scale == "smoke" or bench.data is None:
        return DEFENSES
    shared = budget(bench)
    for name in DEFENSES.values():
        if name in RECIPES:
            train_one(bench, name, name, shared)
    design = {"purifier": "micro" if bench.scale == "small" else "nrp"}
    return DEFENSES | {EQUAL: str(train_one(bench, "nrp-equal", base(bench), shared | design))}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Train what is missing, then measure the grid."""
    grid = Grid(
        lines=tuple(
            Line(f"{source} · {column}", attack, networks)
            for source, networks in SOURCES.items()
            for column, attack in COLUMNS.items()
        ),
        victims=(VICTIM,),
        defenses=_train(bench),
        place=_place,
        small=CAST,
    )
    return measure(bench, experiment, grid)
