"""Figure 5: the purifier without parts of its training, and two simpler denoisers.

Its plan has attacks and victim. The defenses are trained here: each changes a part of a recipe's
losses, which no plan of an evaluation can tell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nrpurify.paper import plots
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import measure
from nrpurify.paper.planned import read_plan
from nrpurify.paper.trained import base, budget, train_one, with_checkpoint
from nrpurify.training import load_recipe

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "NRP": ("", {}),
    "NRP without GAN": ("", {"adversarial": 0.0}),
    "NRP, vanilla GAN": ("", {"gan": "vanilla"}),
    "NRP without pixel loss": ("", {"pixel": 0.0}),
    "NRP without feature loss": ("", {"features": ()}),
    "GNP": ("gnp", {}),
    "FGSP": ("fgsp", {}),
}
"""Recipe, empty for the one that all extend, and the changes of its losses, see :data:`WEIGHTS`."""
WEIGHTS = {"adversarial": 5e-3, "pixel_late": None, "diversity": 0.0}
"""All three losses count from the first step to the last."""
SMALL_CROP = 64
"""The critic is the dearest part of a step: a quarter of it at half the side."""


def variant(bench: Bench, name: str) -> str:
    """The spec of a variant, trained at the budget that all share."""
    recipe, changed = VARIANTS[name]
    recipe = recipe or base(bench)
    losses = load_recipe(recipe, base=base(bench)).to_dict()["losses"]
    losses |= WEIGHTS | ({"adversarial": 0.0} if bench.scale == "smoke" else {}) | changed
    if bench.scale != "full":
        losses["features"] = [
            {**term, "first_step": 0, "until": None} for term in losses["features"]
        ]
    changes = {**budget(bench), "purifier": "micro", "losses": losses}
    if bench.scale == "full":
        changes["purifier"] = "nrp"
    if bench.scale == "small":
        changes["crop"] = SMALL_CROP
    key = name.lower().replace(",", "").replace(" ", "-")
    file = train_one(bench, key, recipe, changes)
    return with_checkpoint(recipe, file) if recipe in ("gnp", "fgsp") else str(file)


def _specs(bench: Bench) -> dict[str, str]:
    names = ("NRP", "GNP") if bench.scale == "smoke" else VARIANTS
    return {name: variant(bench, name) for name in names}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Train the variants, then measure them under the smoothed attacks."""
    grid = read_plan("figure5", bench.scale)
    grid = replace(grid, defenses={**grid.defenses, **_specs(bench)})
    outcome = measure(bench, experiment, grid)
    cells = {cell.id: cell for cell in outcome.run.cells}
    heights = {
        row: 100 * cells[name].value
        for name, (row, column) in outcome.places.items()
        if column == "DIM-TI"
    }
    plots.bars(
        bench.out / "ablation.svg", heights, title="Under DIM-TI of the ensemble", up="accuracy, %"
    )
    outcome.files.append("ablation.svg")
    here = "accuracy under DIM-TI: " + ", ".join(f"{k} {v:.1f} %" for k, v in heights.items())
    first, *others = experiment.claims
    outcome.findings += [Finding(first, here), *(Finding(claim) for claim in others)]
    return outcome
