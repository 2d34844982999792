"""Table 1: black-box attacks against eight defenses in front of one adversarially trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nrpurify.paper.bench import Bench
from nrpurify.paper.budget import budget
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import measure
from nrpurify.paper.planned import read_plan
from nrpurify.paper.trained import RECIPES, base, train_one

EQUAL = "NRP at their budget"
"""Beside the bench's purifier, one with the training that HGD, APE-GAN and SR get here."""


def _train(bench: Bench, defenses: Mapping[str, str]) -> dict[str, str]:
    """Train what is missing of the trained defenses; all defenses, by the paper's name."""
    if bench.scale == "smoke" or bench.data is None:
        return dict(defenses)
    shared = budget(bench)
    for name in defenses.values():
        if name in RECIPES:
            train_one(bench, name, name, shared)
    design = {"purifier": "micro" if bench.scale == "small" else "nrp"}
    return {**defenses, EQUAL: str(train_one(bench, "nrp-equal", base(bench), shared | design))}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Train what is missing, then measure the grid."""
    grid = read_plan("table1")
    return measure(bench, experiment, replace(grid, defenses=_train(bench, grid.defenses)))
