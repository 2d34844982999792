"""The one runner of plans: data, networks, results, pictures, and the folder of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nrpurify.attacks.constraints import lost_by_rounding
from nrpurify.core.claims import Claims
from nrpurify.core.config import Gathered, RecipeError, to_yaml
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable, write_text
from nrpurify.core.hashing import digest
from nrpurify.core.images import shorter_side
from nrpurify.core.plugins import check_trusted, load_plugins
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.registry import origins_used
from nrpurify.core.versions import versions
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation import gallery
from nrpurify.evaluation.cells import Unit, kept_cells, save_cell, units
from nrpurify.evaluation.classification import open_labeled
from nrpurify.evaluation.diagnostics import Warned, find_warnings
from nrpurify.evaluation.made_before import MadeBefore
from nrpurify.evaluation.measurement import Cells, Measurement
from nrpurify.evaluation.networks import Networks, name_problems
from nrpurify.evaluation.plan import EvaluationPlan
from nrpurify.evaluation.plan_checks import check_plan
from nrpurify.evaluation.plan_parser import read_plan
from nrpurify.evaluation.progress import EvaluationProgress, PlainProgress
from nrpurify.evaluation.provenance import provenance
from nrpurify.evaluation.setup import Setup
from nrpurify.evaluation.tasks import TASKS, Samples, Task
from nrpurify.purifiers.purifier import small_images_notes
from nrpurify.results import RUN_FILE, Result, Run, write_run

Items = Sequence[LabeledImage] | Samples
_POLL = 1.0
"""Seconds between two looks at what other processes have measured."""

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
        items: Labeled images, or samples of any task, in place of the plan's data.
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
        return open_labeled(plan.data, items)
    if not plan.data.folder:
        raise RecipeError((("data", "folder"), "is missing; expected a folder of images"))
    return task.open(plan.data)


def _notes(plan: EvaluationPlan, samples: Samples, networks: Networks) -> list[str]:
    side = shorter_side(samples.paths)
    side = side if samples.size is None else min(samples.size, side)
    notes = small_images_notes(side, (networks.defense(name) for name in plan.defenses))
    if plan.rounding == "uint8":
        budgets = {eps for a in plan.attacks if a.norm == "linf" for eps in a.eps}
        notes += [text for eps in sorted(budgets) for text in lost_by_rounding(eps)]
    return notes


@dataclass
class Evaluation:
    """A plan with all that it needs; use it in a ``with`` block.

    Attributes:
        measurement: Images, networks and attacked images.
        folder: Of the run; None keeps nothing.
        progress: Watches.
        claims: On results, where other processes measure too.
        cells: What has been measured, in the order of the plan.
    """

    measurement: Measurement
    folder: Path | None
    progress: EvaluationProgress
    stack: ExitStack
    claims: Claims | None = None
    cells: list[Result] = field(default_factory=list)
    _found: dict[int, list[Result]] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._head = _head(self.measurement)

    def __enter__(self) -> Evaluation:
        """Nothing more to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is not kept."""
        self.stack.close()

    def run(self, *, each_attack: bool = False) -> Run:
        """Measure what is not there yet, then write pictures.

        Args:
            each_attack: See :func:`nrpurify.evaluation.gallery.strips`.
        """
        plan = self.measurement.setup.plan
        every = list(units(plan, self.measurement.setup.made))
        total = sum(len(self._ids(unit, victim)) for unit in every for victim in unit.victims)
        waiting = list(enumerate(every))
        while waiting:
            left: list[tuple[int, Unit]] = []
            for place, unit in waiting:
                # success rates need what is right of clean images
                too_early = unit.attack is not None and any(u.attack is None for _, u in left)
                if too_early or not self._settle(place, unit, every, total):
                    left.append((place, unit))
            if len(left) == len(waiting):
                time.sleep(_POLL)
            waiting = left
        return self.show(each_attack=each_attack)

    def pictures(self, *, each_attack: bool = False) -> list[gallery.Strip]:
        """The pictures of the plan's gallery, after :meth:`run`.

        Args:
            each_attack: See :func:`nrpurify.evaluation.gallery.strips`.
        """
        count = self.measurement.setup.plan.gallery
        shown = gallery.strips(self.measurement, self.cells, count, each_attack=each_attack)
        return list(shown)

    def show(self, *, each_attack: bool = False) -> Run:
        """Write pictures, and the run with what has been measured so far; images need no labels."""
        if self.folder is None:
            return self._save([])
        shown = self.pictures(each_attack=each_attack)
        return self._save([strip.write(self.folder / "strips") for strip in shown])

    def _ids(self, unit: Unit, victim: str) -> list[str]:
        found = self.measurement.ids(unit, victim)
        return [name for values in found.values() for name in values.values()]

    def _settle(self, place: int, unit: Unit, every: Sequence[Unit], total: int) -> bool:
        """Read or measure a unit; False where another process is at it."""
        done = self._read_all(unit)
        if done is not None:
            self._take(place, unit, done, total, kept=True)
            return True
        with self._claim(unit, every) as mine:
            if not mine:
                return False
            done = self._read_all(unit)  # another process may have ended it just now
            kept = done is not None
            self._take(place, unit, done or self.measurement.measure(unit), total, kept=kept)
        return True

    def _claim(self, unit: Unit, every: Sequence[Unit]) -> AbstractContextManager[bool]:
        """Of a transfer without any result, all units: its attacked images are made once."""
        if self.claims is None:
            return nullcontext(True)
        key = (unit.index, unit.eps)
        same = (index for index, u in enumerate(every) if (u.index, u.eps) == key)
        begun = unit.attack is None or unit.white_box or any(i in self._found for i in same)
        ids = [name for victim in unit.victims for name in self._ids(unit, victim)]
        return self.claims.held(digest(ids if begun else key)[:16])

    def _read_all(self, unit: Unit) -> dict[str, Cells] | None:
        found = {victim: self._read(unit, victim) for victim in unit.victims}
        done = {victim: cells for victim, cells in found.items() if cells is not None}
        return done if len(done) == len(found) else None

    def _read(self, unit: Unit, victim: str) -> Cells | None:
        if self.folder is None:
            return None
        names = self._ids(unit, victim)
        label = "" if unit.attack is None else unit.attack.label
        return kept_cells(self.folder / "cells", names, len(self.measurement.setup.samples), label)

    def _take(
        self, place: int, unit: Unit, done: dict[str, Cells], total: int, *, kept: bool
    ) -> None:
        for victim, cells in done.items():
            self.measurement.remember_clean(unit, victim, cells)
            for cell, hits in cells:
                if not kept and self.folder is not None:
                    save_cell(self.folder / "cells", cell, hits)
                self._found.setdefault(place, []).append(cell)
                self.cells = [one for key in sorted(self._found) for one in self._found[key]]
                self._save([])
                self.progress.finished(cell, len(self.cells), total, kept=kept)

    def _save(self, strips: list[dict[str, Any]]) -> Run:
        warnings = [*_image_notes(self.measurement.setup.samples), *find_warnings(self.cells)]
        for warning in warnings:
            if warning["text"] not in self._warned:
                self._warned.add(warning["text"])
                self.progress.warned(warning)
        made = Run(tuple(self.cells), **self._head, warnings=warnings, strips=strips)
        if self.folder is not None:
            write_run(self.folder, made)
        return made


def _head(measurement: Measurement) -> dict[str, Any]:
    plan, samples = measurement.setup.plan, measurement.setup.samples
    return {
        "name": plan.name,
        "title": plan.title or plan.name,
        "images": {
            "folder": samples.folder,
            "n": len(samples),
            "size": samples.size,
            "rule": samples.rule,
            **({"broken": samples.unreadable} if samples.unreadable else {}),
        },
        "settings": plan.to_dict(),
        "weights_sha256": dict(measurement.setup.networks.hashes),
        "left_out": samples.left_out,
        **provenance(seed=plan.seed, amp=plan.amp, device=measurement.setup.device),
    }


def _image_notes(samples: Samples) -> list[Warned]:
    texts = [*samples.notes, *samples.problems]
    return [{"kind": "images", "text": text, "cells": []} for text in texts]
