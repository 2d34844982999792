"""Table 1: black-box attacks against eight defenses in front of one adversarially trained model."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.budget import budget
from nrpurify.paper.experiment import Experiment, Outcome, quote
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

ROWS = {
    "Inc-v3 · JPEG": (19.9, 25.5, 20.3, 28.2, 30.7, 37.0),
    "Inc-v3 · TVM": (18.8, 30.7, 19.4, 34.9, 24.4, 44.2),
    "Inc-v3 · NIPS-r3": (9.8, 24.5, 12.9, 26.7, 18.0, 41.4),
    "Inc-v3 · R&P": (6.5, 19.8, 8.7, 23.9, 13.3, 36.8),
    "Inc-v3 · HGD": (2.1, 18.4, 6.9, 25.7, 9.7, 38.3),
    "Inc-v3 · APE-GAN": (19.6, 28.0, 17.9, 30.4, 23.6, 38.6),
    "Inc-v3 · SR": (23.0, 36.7, 23.6, 38.3, 32.5, 49.0),
    "Inc-v3 · NRP": (3.2, 4.8, 4.5, 9.1, 5.1, 11.0),
    "Inc-v4 · JPEG": (21.8, 27.9, 26.0, 31.6, 38.6, 43.5),
    "Inc-v4 · TVM": (19.9, 31.8, 24.8, 38.4, 29.1, 45.6),
    "Inc-v4 · NIPS-r3": (11.5, 24.6, 15.6, 29.5, 14.1, 41.9),
    "Inc-v4 · R&P": (7.9, 21.6, 12.1, 28.0, 17.2, 39.3),
    "Inc-v4 · HGD": (2.6, 18.1, 9.6, 27.8, 32.4, 58.7),
    "Inc-v4 · APE-GAN": (21.1, 28.8, 20.7, 32.8, 25.0, 39.0),
    "Inc-v4 · SR": (25.3, 34.1, 29.2, 42.3, 39.3, 52.3),
    "Inc-v4 · NRP": (3.1, 4.4, 4.8, 10.3, 5.2, 12.5),
    "IncRes-v2 · JPEG": (24.7, 32.4, 31.6, 45.9, 47.2, 55.7),
    "IncRes-v2 · TVM": (23.4, 38.5, 34.4, 55.4, 41.7, 66.2),
    "IncRes-v2 · NIPS-r3": (13.3, 31.4, 22.7, 46.2, 37.6, 61.5),
    "IncRes-v2 · R&P": (9.9, 28.1, 18.6, 45.2, 30.2, 61.4),
    "IncRes-v2 · HGD": (3.9, 25.4, 19.6, 45.1, 32.4, 58.7),
    "IncRes-v2 · APE-GAN": (24.7, 36.8, 30.4, 50.5, 36.3, 60.5),
    "IncRes-v2 · SR": (27.6, 42.4, 42.6, 62.1, 54.3, 72.2),
    "IncRes-v2 · NRP": (3.5, 6.9, 7.6, 18.7, 7.5, 20.8),
    "Res-152 · JPEG": (24.0, 32.7, 31.2, 38.3, 42.4, 50.8),
    "Res-152 · TVM": (22.0, 38.1, 24.5, 41.2, 36.8, 55.7),
    "Res-152 · NIPS-r3": (12.5, 30.1, 18.0, 34.4, 34.4, 52.9),
    "Res-152 · R&P": (8.6, 27.4, 14.6, 31.1, 26.4, 50.4),
    "Res-152 · HGD": (3.6, 24.4, 15.1, 31.8, 32.6, 51.8),
    "Res-152 · APE-GAN": (24.3, 37.1, 23.2, 38.6, 34.3, 53.8),
    "Res-152 · SR": (26.3, 41.8, 30.2, 49.2, 48.4, 63.9),
    "Res-152 · NRP": (3.4, 6.5, 5.8, 11.9, 6.3, 17.8),
    "Ensemble · JPEG": (38.1, 43.3, 67.7, 77.2, 82.5, 83.4),
    "Ensemble · TVM": (30.0, 39.8, 50.1, 72.1, 64.1, 79.8),
    "Ensemble · NIPS-r3": (19.8, 33.9, 43.9, 71.4, 63.7, 83.1),
    "Ensemble · R&P": (13.8, 31.2, 32.8, 68.3, 51.7, 81.4),
    "Ensemble · HGD": (4.9, 29.9, 38.6, 73.3, 57.7, 82.6),
    "Ensemble · APE-GAN": (32.0, 42.1, 44.6, 69.3, 59.6, 74.5),
    "Ensemble · SR": (38.1, 45.8, 65.2, 79.9, 79.3, 84.9),
    "Ensemble · NRP": (3.7, 7.9, 10.1, 27.8, 11.4, 31.9),
}
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


def _work(bench: Bench) -> Outcome:
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
    return measure(bench, "table1", "Table 1: attacks against defenses", grid)


EXPERIMENT = Experiment(
    name="table1",
    where="Table 1",
    title="Black-box attacks against eight defenses",
    measured=(
        "Success rate (lower is better) of six transferred attacks at ε 16/255, made on four "
        "networks and their ensemble, against eight defenses in front of Inc-Res-v2-ens, which is "
        "adversarially trained; 1,000 images of NeurIPS 2017."
    ),
    instead={
        "smoke": "tiny random networks, generated pictures",
        "small": (
            "EfficientNet-Lite2 as victim, which is not adversarially trained; sources "
            "EfficientNet-Lite0 and -Lite1, SqueezeNet 1.1 and MobileNetV1 0.25; 20 photographs or "
            "--images; HGD, APE-GAN and SR from --checkpoints, or trained 300 steps (--steps) on "
            "--data, as is a purifier of the micro design beside the one that stands for NRP"
        ),
        "full": "the paper's victim and sources (ResNet-152 in version 1), --images",
    },
    cost={"smoke": "1 minute", "small": "2 hours with training", "full": "hours on a GPU"},
    work=_work,
    quoted=quote("success rate", tuple(COLUMNS), ROWS),
    success=True,
    extras=("train", "defenses"),
)
