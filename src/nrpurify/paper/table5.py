"""Table 5: SSP as an attack beside seven others, transferred to eight classifiers."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome, quote
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.topk import add_top5

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
TOP1 = {
    "Res-152 · FGSM": (55.1, 62.6, 18.9, 65.0, 43.9, 64.6, 76.9, 87.9),
    "Res-152 · R-FGSM": (60.8, 68.4, 14.6, 71.9, 55.8, 74.8, 81.1, 87.1),
    "Res-152 · I-FGSM": (80.9, 85.3, 0.9, 93.1, 75.9, 89.2, 90.5, 94.6),
    "Res-152 · MI-FGSM": (38.9, 44.8, 0.6, 47.7, 42.1, 67.0, 69.4, 81.5),
    "Res-152 · TAP": (48.2, 55.7, 7.6, 55.2, None, 49.2, 57.8, 64.1),
    "Res-152 · DIM": (15.9, 17.3, 0.8, 20.0, 25.6, 55.8, 54.9, 71.5),
    "VGG16 · FGSM": (32.6, 38.4, 38.5, 44.5, 8.8, 51.7, 54.9, 70.8),
    "VGG16 · R-FGSM": (44.4, 47.6, 51.1, 56.4, 11.2, 65.5, 66.7, 77.5),
    "VGG16 · I-FGSM": (69.2, 75.2, 79.0, 85.6, 14.4, 83.5, 83.9, 92.1),
    "VGG16 · MI-FGSM": (20.4, 19.7, 25.2, 26.8, 1.5, 43.0, 42.0, 62.0),
    "VGG16 · TAP": (23.9, 28.1, 23.9, 32.3, None, 38.8, 41.9, 63.8),
    "VGG16 · DIM": (14.7, 16.6, 21.0, 21.5, 0.6, 35.8, 31.8, 53.7),
    "VGG16 · FFF": (61.7, 60.8, 72.8, 76.1, 44.0, 79.6, 83.1, 92.8),
    "VGG16 · SSP": (5.3, 5.9, 16.5, 14.1, 2.7, 25.9, 40.2, 58.0),
}
"""In percent by victim; the columns of Res-152 under attacks made on it are white-box."""
TOP5 = {
    "Res-152 · FGSM": (81.1, 85.1, 44.7, 86.5, 70.4, 85.8, 93.5, 98.2),
    "Res-152 · R-FGSM": (84.3, 88.1, 40.3, 90.3, 71.4, 92.3, 96.0, 97.5),
    "Res-152 · I-FGSM": (96.7, 97.8, 10.8, 98.8, 94.8, 99.2, 97.9, 99.5),
    "Res-152 · MI-FGSM": (72.7, 76.5, 2.9, 79.6, 71.8, 89.9, 93.3, 96.4),
    "Res-152 · DIM": (44.0, 48.4, 3.0, 50.2, 56.3, 82.8, 84.2, 93.1),
    "VGG16 · FGSM": (58.6, 62.6, 66.3, 68.5, 25.1, 75.3, 81.7, 90.7),
    "VGG16 · R-FGSM": (69.5, 75.1, 78.8, 78.8, 31.8, 87.4, 89.2, 93.6),
    "VGG16 · I-FGSM": (93.0, 93.7, 96.2, 96.8, 49.3, 97.7, 96.7, 98.8),
    "VGG16 · MI-FGSM": (45.0, 43.2, 53.8, 53.8, 12.1, 70.9, 72.7, 86.8),
    "VGG16 · DIM": (38.8, 39.0, 48.0, 45.7, 7.6, 65.8, 60.8, 79.5),
    "VGG16 · FFF": (80.7, 78.7, 90.1, 90.1, 68.0, 93.1, 93.1, 98.5),
    "VGG16 · SSP": (11.0, 11.9, 29.5, 25.5, 6.8, 43.2, 58.3, 75.0),
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
)


def _work(bench: Bench) -> Outcome:
    return add_top5(bench, measure(bench, "table5", "Table 5: SSP as an attack", GRID))


EXPERIMENT = Experiment(
    name="table5",
    where="Table 5",
    title="SSP as an attack on classifiers",
    measured=(
        "Top-1 and top-5 accuracy (lower is a stronger attack) of eight classifiers under attacks "
        "at ε 16/255 made on Res-152 and VGG16; 1,000 images of NeurIPS 2017."
    ),
    instead={
        "smoke": "tiny random networks, generated pictures, two steps an attack",
        "small": (
            "EfficientNet-Lite0 in place of Res-152, SqueezeNet 1.1 in place of VGG16's classifier "
            "(SSP and FFF work on VGG16 itself); victims EfficientNet-Lite0, -Lite1, -Lite2 and "
            "MobileNetV1 0.25, none adversarially trained; 20 photographs or --images"
        ),
        "full": "the paper's networks but for Inc-v3-ens3, which no hub has; --images",
    },
    cost={"smoke": "1 minute", "small": "25 minutes", "full": "an hour on a GPU"},
    work=_work,
    quoted=(
        *quote("top-1 accuracy", tuple(f"{name} T-1" for name in VICTIMS), TOP1),
        *quote("top-5 accuracy", tuple(f"{name} T-5" for name in VICTIMS), TOP5),
    ),
    extras=("train",),
)
