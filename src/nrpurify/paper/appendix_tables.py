"""Appendix tables 3 and 5, which are grids without defenses."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome, quote
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.table5 import VICTIMS
from nrpurify.paper.topk import add_top5

VICTIMS3 = ("Inc-v3", "Inc-v4", "Res-152", "IncRes-v2", "Adv-v3", "IncRes-v2-ens")


def _place3(spot: Spot) -> tuple[str, str] | None:
    return spot.line, spot.victim


def _place5(spot: Spot) -> tuple[str, str] | None:
    return "no attack", f"{spot.victim} T-1"


THREE = Grid((Line("FSA", "fsa", ("VGG16",)), Line("SSP", "ssp")), VICTIMS3, _place3)
FIVE = Grid((), VICTIMS, _place5)


def _work5(bench: Bench) -> Outcome:
    title = "Appendix table 5: accuracy on clean images"
    return add_top5(bench, measure(bench, "appendix-table5", title, FIVE))


EXPERIMENTS = (
    Experiment(
        name="appendix-table3",
        where="Appendix table 3",
        title="FSA beside SSP",
        measured=(
            "Accuracy (lower is a stronger attack) of six classifiers under FSA and SSP at "
            "ε 16/255; the paper does not tell which network FSA is made on; NeurIPS 2017."
        ),
        instead={
            "smoke": "tiny random networks, generated pictures",
            "small": (
                "FSA on SqueezeNet 1.1, SSP in VGG16; EfficientNet-Lite0, -Lite1, -Lite2 and "
                "MobileNetV1 0.25 asked"
            ),
            "full": "FSA on VGG16's logits, SSP in its features; the paper's victims",
        },
        cost={"smoke": "20 seconds", "small": "10 minutes", "full": "20 minutes on a GPU"},
        work=lambda bench: measure(
            bench, "appendix-table3", "Appendix table 3: FSA beside SSP", THREE
        ),
        quoted=quote(
            "top-1 accuracy",
            VICTIMS3,
            {
                "FSA": (60.4, 64.2, 68.8, 71.0, 72.2, 88.6),
                "SSP": (5.3, 5.9, 16.5, 14.1, 25.9, 58.0),
            },
        ),
        extras=("train",),
    ),
    Experiment(
        name="appendix-table5",
        where="Appendix table 5",
        title="Accuracy of the classifiers on clean images",
        measured="Top-1 and top-5 accuracy of eight classifiers on the images of NeurIPS 2017.",
        instead={
            "smoke": "tiny random networks, generated pictures",
            "small": "EfficientNet-Lite0, -Lite1, -Lite2, MobileNetV1 0.25; 20 photographs",
            "full": "the paper's networks but for Inc-v3-ens3; --images",
        },
        cost={"smoke": "10 seconds", "small": "1 minute", "full": "5 minutes on a GPU"},
        work=_work5,
        quoted=(
            *quote(
                "top-1 accuracy",
                tuple(f"{name} T-1" for name in VICTIMS),
                {"no attack": (95.3, 97.7, 96.1, 100.0, 85.5, 95.1, 93.9, 97.8)},
            ),
            *quote(
                "top-5 accuracy",
                tuple(f"{name} T-5" for name in VICTIMS),
                {"no attack": (99.8, 99.8, 99.9, 100.0, 96.7, 99.4, 98.1, 99.8)},
            ),
        ),
        extras=("train",),
    ),
)
