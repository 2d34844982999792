"""Names of 0.1.0. They work until 0.3, and each warns once it is used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.core.groups import GROUP
from nrpurify.core.precision import Amp
from nrpurify.core.progress import NO_VALUES, SILENT
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation import plan_parser as plans
from nrpurify.evaluation.classification import VICTIMS
from nrpurify.evaluation.plan import DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation.progress import EvaluationProgress
from nrpurify.evaluation.runner import run
from nrpurify.evaluation.simple import simple_attack
from nrpurify.evaluation.summary import purifier_spec, summarize
from nrpurify.results import Result, Run


def _grid_recipe(
    attacks: Sequence[PlannedAttack],
    victims: Sequence[str],
    defenses: Sequence[str] = ("none", "fast"),
    images: DataSpec = DataSpec(),  # noqa: B008 - frozen
    **options: Any,
) -> EvaluationPlan:
    """The plan that a recipe of 0.1.0 is."""
    options = {"name": "grid", **options}
    return EvaluationPlan(images, tuple(victims), tuple(attacks), tuple(defenses), **options)


class SilentGrid:
    """Watches nothing of a grid of 0.1.0."""

    def worked(self, what: str, done: int, total: int) -> None:
        """Images of the present piece of work."""

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Another result is there."""

    def warned(self, warning: Mapping[str, Any]) -> None:
        """A warning, as soon as it is known."""


class _Watched(EvaluationProgress):
    """Passes everything on to a watcher of 0.1.0."""

    def __init__(self, watch: SilentGrid) -> None:
        self.finished, self.warned = watch.finished, watch.warned  # type: ignore[method-assign]
        self.watch = watch

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        self.watch.worked(what, done, total or 0)


def _run_grid(
    recipe: EvaluationPlan | str | Path,
    out: str | Path,
    *,
    watch: SilentGrid | None = None,
    **options: Any,
) -> Run:
    """Run a plan into a folder."""
    progress = SILENT if watch is None else _Watched(watch)
    return run(recipe, out, progress=progress, **options)


@dataclass(frozen=True)
class Plan:
    """One attack and one purifier, as 0.1.0 had it: see :class:`EvaluationPlan`."""

    victims: Sequence[str | Callable[..., Any]] = VICTIMS
    surrogate: str | None = None
    preset: str = "paper"
    layer: str | None = None
    eps: float = 16 / 255
    steps: int | None = None
    step_size: float | None = None
    purifier: str | Path = "fast"
    attack: str = "ssp"
    trained: str | Path | None = None
    size: int = 224
    batch: int = 10
    group: int = GROUP
    seed: int = 0
    attacked: str | Path | None = None
    uint8: bool = True
    device: str = "cpu"
    amp: Amp = "auto"
    check_labels: bool = True

    def convert(self) -> tuple[EvaluationPlan, dict[str, Callable[..., Any]]]:
        """The same as an :class:`EvaluationPlan`, and its own models by name."""
        names: list[str] = []
        own: dict[str, Callable[..., Any]] = {}
        for victim in self.victims:
            plain = victim if isinstance(victim, str) else _name(victim)
            name, number = plain, 2
            while not isinstance(victim, str) and name in names:
                name, number = f"{plain} {number}", number + 1
            names.append(name)
            if not isinstance(victim, str):
                own[name] = victim
        if self.attacked is not None:
            attack = PlannedAttack(attacked=str(self.attacked), eps=(self.eps,))
        else:
            given = {n: getattr(self, n) for n in ("preset", "layer", "steps", "step_size")}
            attack = simple_attack(
                self.attack, self.eps, surrogate=self.surrogate, trained=self.trained, **given
            )
        return (
            EvaluationPlan(
                DataSpec(size=self.size, check_labels=self.check_labels),
                tuple(names),
                (attack,),
                ("none", purifier_spec(str(self.purifier))),
                gallery=0,
                seed=self.seed,
                rounding="uint8" if self.uint8 else "float",
                batch=self.batch,
                group=self.group,
                amp=self.amp,
            ),
            own,
        )


def _name(model: Callable[..., Any]) -> str:
    return str(getattr(model, "name", getattr(model, "__name__", type(model).__name__)))


@dataclass
class Outcome:
    """What an evaluation of 0.1.0 found.

    Attributes:
        result: See :func:`nrpurify.evaluation.summary.summarize`.
        broken: Images that could not be read, with reasons; they are in no number.
        notes: What else the user should know.
    """

    result: dict[str, Any]
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Counted(EvaluationProgress):
    def __init__(self, watch: Callable[[int, int], None] | None) -> None:
        self.watch = watch

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        if self.watch is not None:
            self.watch(done, total)


def _evaluate(
    plan: Plan, watch: Callable[[int, int], None] | None, items: Any, **data: Any
) -> Outcome:
    converted, models = plan.convert()
    found = run(
        converted.with_data(**data),
        items=items,
        models=models,
        device=plan.device,
        progress=_Counted(watch),
    )
    result = summarize(found)
    broken = list(found.images.get("broken", []))
    return Outcome(result, broken, result["notes"])


def evaluate_images(
    items: Sequence[LabeledImage], plan: Plan, *, watch: Callable[[int, int], None] | None = None
) -> Outcome:
    """Evaluate labeled image files."""
    return _evaluate(plan, watch, items)


def evaluate_folder(
    folder: str | Path,
    plan: Plan,
    *,
    labels: str | Path | None = None,
    classes: str | Path | None = None,
    limit: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Evaluate the images of a folder."""
    given = {"folder": folder, "labels": labels, "classes": classes}
    texts = {name: str(value) for name, value in given.items() if value is not None}
    return _evaluate(plan, watch, None, **texts, limit=limit)


OLD: dict[str, tuple[Any, str]] = {
    "GridAttack": (PlannedAttack, "PlannedAttack"),
    "GridImages": (DataSpec, "DataSpec"),
    "GridRecipe": (_grid_recipe, "EvaluationPlan"),
    "GridWatcher": (SilentGrid, "EvaluationProgress"),
    "SilentGrid": (SilentGrid, "EvaluationProgress"),
    "grid_from_dict": (plans.plan_from_dict, "plan_from_dict"),
    "read_grid": (plans.read_plan, "read_plan"),
    "shipped_grids": (plans.shipped_plans, "shipped_plans"),
    "run_grid": (_run_grid, "run"),
    "Plan": (Plan, "EvaluationPlan"),
    "Outcome": (Outcome, "nrpurify.results.Run"),
    "evaluate_folder": (evaluate_folder, "run"),
    "evaluate_images": (evaluate_images, "run(plan, items=...)"),
}
"""What each old name is, and the new name."""


def get(name: str) -> Any:
    """The thing of an old name, with a warning."""
    value, new = OLD[name]
    warnings.warn(
        f"nrpurify.evaluation.{name} is now {new}; the old name goes with 0.3",
        DeprecationWarning,
        stacklevel=3,
    )
    return value
