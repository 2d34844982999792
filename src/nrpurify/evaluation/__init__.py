"""Evaluation: accuracy and success rate, clean, attacked and purified."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.core.config import Marks, RecipeError
    from nrpurify.evaluation.diagnostics import find_warnings
    from nrpurify.evaluation.folder import Outcome, evaluate_folder, evaluate_images
    from nrpurify.evaluation.grid import GridWatcher, SilentGrid, run_grid
    from nrpurify.evaluation.grid_recipe import (
        GridAttack,
        GridImages,
        GridRecipe,
        grid_from_dict,
        read_grid,
        shipped_grids,
    )
    from nrpurify.evaluation.harness import Tally, Views, check_budget, evaluate, summarize
    from nrpurify.evaluation.plan import VICTIMS, Plan
    from nrpurify.evaluation.table import compact_table
    from nrpurify.results import wilson_interval

__all__ = [
    "VICTIMS",
    "GridAttack",
    "GridImages",
    "GridRecipe",
    "GridWatcher",
    "Marks",
    "Outcome",
    "Plan",
    "RecipeError",
    "SilentGrid",
    "Tally",
    "Views",
    "check_budget",
    "compact_table",
    "evaluate",
    "evaluate_folder",
    "evaluate_images",
    "find_warnings",
    "grid_from_dict",
    "read_grid",
    "run_grid",
    "shipped_grids",
    "summarize",
    "wilson_interval",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.core.config": (
            "Marks",
            "RecipeError",
        ),
        "nrpurify.evaluation.diagnostics": ("find_warnings",),
        "nrpurify.evaluation.folder": (
            "Outcome",
            "evaluate_folder",
            "evaluate_images",
        ),
        "nrpurify.evaluation.grid": (
            "GridWatcher",
            "SilentGrid",
            "run_grid",
        ),
        "nrpurify.evaluation.grid_recipe": (
            "GridAttack",
            "GridImages",
            "GridRecipe",
            "grid_from_dict",
            "read_grid",
            "shipped_grids",
        ),
        "nrpurify.evaluation.harness": (
            "Tally",
            "Views",
            "check_budget",
            "evaluate",
            "summarize",
        ),
        "nrpurify.results": ("wilson_interval",),
        "nrpurify.evaluation.plan": (
            "VICTIMS",
            "Plan",
        ),
        "nrpurify.evaluation.table": ("compact_table",),
    },
)
