"""The one runner of plans: data, networks, results, pictures, and the folder of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nrpurify.attacks.constraints import lost_by_rounding
from nrpurify.core.claims import Claims
from nrpurify.core.config import Gathered, RecipeError, to_yaml
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable, write_text
from nrpurify.core.images import shorter_side
from nrpurify.core.plugins import check_trusted, load_plugins
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.registry import origins_used
from nrpurify.core.versions import versions
from nrpurify.data.labels import LabeledImage
from nrpurify.defenses import Protected
from nrpurify.evaluation.classification import open_labeled
from nrpurify.evaluation.execution import Evaluation
from nrpurify.evaluation.made_before import MadeBefore
from nrpurify.evaluation.measurement import Measurement
from nrpurify.evaluation.networks import Networks, name_problems
from nrpurify.evaluation.plan import EvaluationPlan
from nrpurify.evaluation.plan_checks import check_plan
from nrpurify.evaluation.plan_parser import read_plan
from nrpurify.evaluation.progress import EvaluationProgress, PlainProgress
from nrpurify.evaluation.setup import Setup
from nrpurify.evaluation.tasks import TASKS, Samples, Task
from nrpurify.purifiers.purifier import small_images_notes
from nrpurify.results import RUN_FILE, Run

Items = Sequence[LabeledImage] | Samples
Models = Mapping[str, Callable[..., Any]]


def run(
    plan: EvaluationPlan | str | Path,
    out: str | Path | None = None,
    *,
    items: Items | None = None,
    models: Models | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress = SILENT,
    trust_plan: bool = False,
    shared: bool = False,
) -> Run:
    """Run a plan.

    ``out`` gets ``plan.yaml``, ``run.json`` (updated after each result), ``cells/`` with one file a
    result, ``adversaries/`` with the attacked images of transfers and their manifests, and
    ``strips/`` with pictures. What is finished there is kept when a run is resumed, as long as
    nothing that decides it has changed; the rest is measured.

    Args:
        plan: A plan, a shipped one's name, or a YAML file.
        out: A folder; None keeps nothing on disk.
        items: In place of the plan's data: for ``classify`` files with their classes, each a
            :class:`~nrpurify.data.labels.LabeledImage`; for any task
            :class:`~nrpurify.evaluation.tasks.Samples`, which may read images from anywhere.
        models: The user's own models, modules or functions, by the names that the plan's victims
            and surrogates have.
        resume: Go on in a folder that holds a run.
        device: Where to work.
        progress: Sees images; an :class:`EvaluationProgress` also results and warnings.
        trust_plan: Run the code that a file's ``plugins``, ``python:`` and ``file.py:`` name; an
            :class:`EvaluationPlan` object is the caller's own.
        shared: Work on ``out`` together with other processes that run the same plan: results are
            claimed by files that expire (:mod:`nrpurify.core.claims`). Ends when all are there.

    Returns:
        The run as in ``run.json``.

    Raises:
        InputError: A plan that cannot be used (lines are named when it is a file), or a folder
            that holds a run already and ``resume`` was not given.
        MissingExtraError: A library of the extras is needed.
        WeightsError: Weights could not be found or downloaded.
        AssertionError: An attack left its budget.
    """
    if not isinstance(plan, EvaluationPlan):
        read, marks = read_plan(plan)
        check_trusted(read.to_dict(), [], trust_all=trust_plan)
        with marks.naming_lines():
            return run(
                read, out, items=items, models=models, resume=resume, device=device,
                progress=progress, shared=shared,
            )  # fmt: skip
    with prepare(
        plan, out, items=items, models=models, resume=resume, device=device, progress=progress,
        shared=shared,
    ) as evaluation:  # fmt: skip
        return evaluation.run()


def prepare(
    plan: EvaluationPlan,
    out: str | Path | None = None,
    *,
    items: Items | None = None,
    models: Models | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress = SILENT,
    shared: bool = False,
) -> Evaluation:
    """Check a plan, read its images and load its networks, before any time is spent on attacks.

    Arguments and errors are those of :func:`run`. The result is a context manager.
    """
    load_plugins(plan.plugins)
    if shared and out is None:
        raise InputError("shared work needs a folder (out, --out)")
    folder = None if out is None else _enter(Path(out), resume or shared)
    watch = progress if isinstance(progress, EvaluationProgress) else PlainProgress(progress)
    if not isinstance(models, Mapping | None):
        raise InputError(
            f"models is a {type(models).__name__}; expected models by name: {{'mine': model}}"
        )
    own = models or {}
    with origins_used() as origins:
        plan, task, samples, made = _open(plan, items, own)
        networks = Networks.load(plan, task, samples.read(0)[0][None].to(device), device, own)
    samples = task.fit(networks.victims, samples, plan.data)
    for before in made.values():
        samples = samples.without(before.unreadable(samples))
    facts = task.check(networks.victims, samples, plan.data, device)
    samples.notes.extend(_notes(plan, samples, networks))
    stack = ExitStack()
    base = folder or Path(stack.enter_context(TemporaryDirectory(prefix="nrpurify-")))
    setup = Setup(
        plan, task, samples, networks, facts, made, base / "adversaries", versions(origins), device,
        watch,
    )  # fmt: skip
    if folder is not None:
        write_text(folder / "plan.yaml", to_yaml(plan.to_dict()))
    claims = Claims(folder / "claims") if shared and folder is not None else None
    return Evaluation(Measurement(setup), folder, watch, stack, claims)


def _enter(folder: Path, resume: bool) -> Path:
    if not resume and ((folder / RUN_FILE).exists() or (folder / "cells").exists()):
        raise InputError(
            f"{str(folder)!r} holds a run; resume it (--resume) or choose another folder"
        )
    check_writable(folder / RUN_FILE)
    return folder


def _open(
    plan: EvaluationPlan, items: Items | None, own: Models
) -> tuple[EvaluationPlan, Task, Samples, dict[int, MadeBefore]]:
    """Plan, task and samples, once the plan is checked; all problems so far come in one error."""
    gathered, samples = Gathered(), None
    with gathered.at():
        check_plan(plan)
    task: Task | None = None
    made: dict[int, MadeBefore] = {}
    if not any(place[:1] == ("task",) for place, _ in gathered.problems):
        task = TASKS.create(plan.task)
        plan = replace(
            plan,
            victims=plan.victims or task.default_victims,
            metrics=plan.metrics or task.default_metrics,
        )
        if not plan.victims:
            gathered.problems.append((("victims",), f"nothing given; {task.name} has no default"))
        if not any(place[:1] == ("data",) for place, _ in gathered.problems):
            with gathered.at("data"):
                samples = _samples(task, plan, items)
    for index, attack in enumerate(plan.attacks):
        if attack.attacked:
            with gathered.at("attacks", index, "attacked"):
                made[index] = MadeBefore.of(attack)
    if samples is None or task is None or gathered.problems:
        gathered.problems += name_problems(plan, own)
        gathered.end()
    assert samples is not None
    assert task is not None
    return plan, task, samples, made


def _samples(task: Task, plan: EvaluationPlan, items: Items | None) -> Samples:
    if isinstance(items, Samples):
        return items
    if items is not None:
        _check_items(items, task)
        return open_labeled(plan.data, items)
    if not plan.data.folder:
        raise RecipeError((("data", "folder"), "is missing; expected a folder of images"))
    return task.open(plan.data)


def _check_items(items: object, task: Task) -> None:
    expected = "expected LabeledImages (a Path and a class from 0) or Samples"
    if not isinstance(items, Sequence):
        raise InputError(f"items is a {type(items).__name__}; {expected}")
    for index, item in enumerate(items):
        if not isinstance(item, LabeledImage):
            raise InputError(
                f"items[{index}] is a {type(item).__name__}; {expected}; tensors go into "
                "evaluate(batches, {'mine': model}, ...)"
            )
        if not isinstance(item.path, Path):
            kind = type(item.path).__name__
            raise InputError(
                f"items[{index}] has the path {item.path!r}, a {kind}; expected a Path"
            )
    if not task.class_labels:
        raise InputError(
            f"items holds LabeledImages, whose labels are classes of images; {task.name} takes "
            "Samples"
        )


def _notes(plan: EvaluationPlan, samples: Samples, networks: Networks) -> list[str]:
    side = shorter_side(samples.paths)
    side = side if samples.size is None else min(samples.size, side)
    notes = small_images_notes(side, (networks.defense(name) for name in plan.defenses))
    notes += _protected_twice(plan, networks)
    if plan.rounding == "uint8":
        budgets = {eps for a in plan.attacks if a.norm == "linf" for eps in a.eps}
        notes += [text for eps in sorted(budgets) for text in lost_by_rounding(eps)]
    return notes


def _protected_twice(plan: EvaluationPlan, networks: Networks) -> Iterator[str]:
    defenses = ", ".join(name for name in plan.defenses if name != "none")
    for name, victim in networks.victims.items():
        if defenses and any(isinstance(module, Protected) for module in victim.modules()):
            yield (
                f"{name} is protected already, so {defenses} is a second defense in front of it; "
                "defenses=('none',) measures it as it is"
            )
