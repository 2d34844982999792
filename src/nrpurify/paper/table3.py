"""Table 3: an attacker who trains a purifier of his own and attacks through it."""

from __future__ import annotations

from typing import Any

from nrpurify.paper.bench import Bench
from nrpurify.paper.budget import budget
from nrpurify.paper.experiment import Experiment, Outcome, quote
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.trained import base, train_one

VICTIMS = ("Inc-v3", "Inc-v4", "IncRes-v2", "Adv-v3", "Inc-v3-ens3", "IncRes-v2-ens")
PLAIN = "Res-152 · DIM-TI"
ROWS = {
    PLAIN: (77.4, 77.9, 74.2, 51.2, 56.2, 47.7),
    "ResG ⊕ Res-152 · DIM-TI ⊕ BPDA · NRP": (29.7, 26.2, 19.6, 22.3, 22.1, 16.1),
    "UNet ⊕ Res-152 · DIM-TI ⊕ BPDA · NRP": (29.0, 27.1, 19.5, 26.9, 27.7, 18.8),
}
DESIGNS = {"ResG": ("micro", "fast-rrdb", "resg"), "UNet": ("micro", "micro", "unet")}
"""The attacker's purifiers by scale."""


def own_purifier(bench: Bench, name: str) -> str:
    """The file of the attacker's purifier, trained like the defense on the same photos."""
    design = dict(zip(("smoke", "small", "full"), DESIGNS[name], strict=True))[bench.scale]
    changes: dict[str, Any] = {**budget(bench), "purifier": design, "seed": len(name)}
    return str(train_one(bench, f"own-{name.lower()}", base(bench), changes))


def _place(spot: Spot) -> tuple[str, str] | None:
    defended = "" if spot.defense == "no defense" else f" · {spot.defense}"
    line = spot.line if spot.eps else "No attack, accuracy"
    return f"{line}{defended}", spot.victim


def _grid(files: dict[str, str]) -> Grid:
    through = (
        Line(
            f"{name} ⊕ {PLAIN} ⊕ BPDA",
            "dim-ti",
            ("Res-152",),
            {"threat": "surrogate purifier + BPDA", "purifier": file},
        )
        for name, file in files.items()
    )
    return Grid(
        lines=(Line(PLAIN, "dim-ti", ("Res-152",)), *through),
        victims=VICTIMS,
        defenses={"no defense": "none", "NRP": "nrp"},
        place=_place,
    )


def _work(bench: Bench) -> Outcome:
    files = {name: own_purifier(bench, name) for name in DESIGNS}
    return measure(bench, "table3", "Table 3: through a purifier of one's own", _grid(files))


EXPERIMENT = Experiment(
    name="table3",
    where="Table 3",
    title="BPDA through a purifier of the attacker's own",
    measured=(
        "Success rate (lower is better) of DIM-TI at ε 16/255, 10 steps, made on Res-152 alone "
        "(victims undefended) and on Res-152 behind a ResG or U-Net purifier by BPDA (victims "
        "behind NRP); six victims, 1,000 images of NeurIPS 2017."
    ),
    instead={
        "smoke": "purifiers of two training steps, tiny random networks, generated pictures",
        "small": (
            "EfficientNet-Lite0 in place of Res-152; the attacker's purifiers are an RRDB and a "
            "U-Net behind pixel-unshuffle, trained here on --data or taken from --checkpoints "
            "(own-resg, own-unet); victims EfficientNet-Lite1, -Lite2, MobileNetV1 0.25"
        ),
        "full": "ResG and U-Net by the paper's recipe, the paper's networks but Inc-v3-ens3",
    },
    cost={"smoke": "1 minute", "small": "an hour with training", "full": "days on a GPU"},
    work=_work,
    quoted=quote("success rate", VICTIMS, ROWS),
    success=True,
    extras=("train",),
)
