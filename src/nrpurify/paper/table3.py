"""Table 3: an attacker who trains a purifier of his own and attacks through it."""

from __future__ import annotations

from typing import Any

from nrpurify.paper.bench import Bench
from nrpurify.paper.budget import budget
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.trained import base, train_one

VICTIMS = ("Inc-v3", "Inc-v4", "IncRes-v2", "Adv-v3", "Inc-v3-ens3", "IncRes-v2-ens")
PLAIN = "Res-152 · DIM-TI"
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


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Train the attacker's purifiers, then attack through them."""
    files = {name: own_purifier(bench, name) for name in DESIGNS}
    return measure(bench, experiment, _grid(files))
