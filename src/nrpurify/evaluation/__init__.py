"""Evaluation: what attacks take from models, and what defenses give back, from one plan."""

from typing import TYPE_CHECKING, Any

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.core.config import Marks, RecipeError
    from nrpurify.evaluation.batches import Batch, check_budget
    from nrpurify.evaluation.classification import VICTIMS
    from nrpurify.evaluation.diagnostics import find_warnings
    from nrpurify.evaluation.in_memory import Tally, Views, evaluate
    from nrpurify.evaluation.metrics import Metric, register_metric
    from nrpurify.evaluation.plan import DataSpec, EvaluationPlan, PlannedAttack
    from nrpurify.evaluation.plan_parser import plan_from_dict, read_plan, shipped_plans
    from nrpurify.evaluation.progress import EvaluationProgress
    from nrpurify.evaluation.runner import prepare, run
    from nrpurify.evaluation.summary import summarize
    from nrpurify.evaluation.table import compact_table
    from nrpurify.evaluation.tasks import Samples, Task, register_task
    from nrpurify.results import wilson_interval

__all__ = [
    "VICTIMS",
    "Batch",
    "DataSpec",
    "EvaluationPlan",
    "EvaluationProgress",
    "Marks",
    "Metric",
    "PlannedAttack",
    "RecipeError",
    "Samples",
    "Tally",
    "Task",
    "Views",
    "check_budget",
    "compact_table",
    "evaluate",
    "find_warnings",
    "plan_from_dict",
    "prepare",
    "read_plan",
    "register_metric",
    "register_task",
    "run",
    "shipped_plans",
    "summarize",
    "wilson_interval",
]

_get, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.core.config": ("Marks", "RecipeError"),
        "nrpurify.evaluation.batches": ("Batch", "check_budget"),
        "nrpurify.evaluation.classification": ("VICTIMS",),
        "nrpurify.evaluation.diagnostics": ("find_warnings",),
        "nrpurify.evaluation.in_memory": ("Tally", "Views", "evaluate"),
        "nrpurify.evaluation.metrics": ("Metric", "register_metric"),
        "nrpurify.evaluation.plan": ("DataSpec", "EvaluationPlan", "PlannedAttack"),
        "nrpurify.evaluation.plan_parser": ("plan_from_dict", "read_plan", "shipped_plans"),
        "nrpurify.evaluation.progress": ("EvaluationProgress",),
        "nrpurify.evaluation.runner": ("prepare", "run"),
        "nrpurify.evaluation.summary": ("summarize",),
        "nrpurify.evaluation.table": ("compact_table",),
        "nrpurify.evaluation.tasks": ("Samples", "Task", "register_task"),
        "nrpurify.results": ("wilson_interval",),
    },
)
_OLD = frozenset(
    {"GridAttack", "GridImages", "GridRecipe", "GridWatcher", "SilentGrid", "grid_from_dict"}
    | {"read_grid", "shipped_grids", "run_grid", "Plan", "Outcome"}
    | {"evaluate_folder", "evaluate_images"}
)
"""Names of 0.1.0, see :mod:`nrpurify.evaluation.aliases`."""


def __getattr__(name: str) -> Any:
    if name in _OLD:
        from nrpurify.evaluation.aliases import get

        return get(name)
    return _get(name)
