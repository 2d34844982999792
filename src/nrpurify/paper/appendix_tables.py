"""Appendix tables 3 and 5, which are grids without defenses."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.table5 import VICTIMS

VICTIMS3 = ("Inc-v3", "Inc-v4", "Res-152", "IncRes-v2", "Adv-v3", "IncRes-v2-ens")


def _place3(spot: Spot) -> tuple[str, str] | None:
    return spot.line, spot.victim


def _place5(spot: Spot) -> tuple[str, str] | None:
    return "no attack", f"{spot.victim} T-1"


THREE = Grid((Line("FSA", "fsa", ("VGG16",)), Line("SSP", "ssp")), VICTIMS3, _place3)
FIVE = Grid((), VICTIMS, _place5, metrics=("accuracy", "top5"))
_GRIDS = {"appendix-table3": THREE, "appendix-table5": FIVE}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the table's grid; appendix table 5 has the five first answers too."""
    return measure(bench, experiment, _GRIDS[experiment.name])
