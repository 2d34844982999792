"""A whole training run: data, steps, validation, logs, checkpoints, resume."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from nrpurify.core.errors import InputError
from nrpurify.purifiers import Purifier, load_purifier
from nrpurify.purifiers.registry import Design
from nrpurify.training.distributed import Workers, join_workers
from nrpurify.training.log import RunLog
from nrpurify.training.net2net import GROWS, can_grow
from nrpurify.training.photos import split_photos
from nrpurify.training.recipe import Recipe, recipe_from_dict
from nrpurify.training.run_folder import Origin, RunFolder, circumstances, files_hash
from nrpurify.training.trainer import Trainer
from nrpurify.training.validation import Validator


class Watcher(Protocol):
    """What a user interface sees of a run."""

    def cached(self, done: int, wanted: int) -> None:
        """Another shard of adversaries is there."""

    def stepped(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step is done."""

    def gated(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step of the gate's training is done."""

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        """A validation is done."""


class Silent:
    """Watches nothing."""

    def cached(self, done: int, wanted: int) -> None:
        """Ignore it."""

    def stepped(self, step: int, steps: int, values: dict[str, float]) -> None:
        """Ignore it."""

    def gated(self, step: int, steps: int, values: dict[str, float]) -> None:
        """Ignore it."""

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        """Ignore it."""


@dataclass
class Run:
    """One run in one folder, executed once.

    After the purifier its gate is trained, where the recipe has one.

    The folder gets ``recipe.json``, ``state.pt`` (to resume), ``purifier.safetensors`` (the
    averaged weights with their card), ``log.jsonl``, ``tensorboard/`` and the adversary cache.

    Attributes:
        recipe: What to do.
        data: Folder of photos; no labels are read.
        folder: Where the run lives.
        device: Where to train.
        watcher: Sees progress.
        loader_threads: Threads that read and crop photos ahead where the recipe has no cache;
            results do not depend on them.
    """

    recipe: Recipe
    data: Path
    folder: Path
    device: torch.device
    watcher: Watcher = field(default_factory=Silent)
    loader_threads: int = 2

    def __post_init__(self) -> None:
        self.workers: Workers = join_workers(self.device)
        self.photos, self.held_out = split_photos(self.data, self.recipe.holdout)
        self.trainer = Trainer(
            self.recipe,
            self.photos,
            self.folder,
            self.device,
            self.workers,
            loader_threads=self.loader_threads,
        )
        self.kept = RunFolder(self.folder, self.recipe.to_dict(), _completed, extends="steps")
        self.extended: list[int] = []
        self.metrics: dict[str, float] = {}
        self.seconds = 0.0

    def execute(self, *, resume: bool = False, warm_start: str | Path | None = None) -> Path:
        """Train to the end and return the purifier's file.

        Args:
            resume: Go on from ``state.pt`` in the folder; without one, start anew. A recipe with
                more ``steps`` extends the run: it goes on by the longer schedule of learning
                rates, and the gate is trained again. That is not the result of one longer run.
            warm_start: A purifier to begin from, of the same design or one that can grow
                (:func:`nrpurify.training.net2net.can_grow`).

        Raises:
            InputError: Another process trains in the folder, it holds a run and ``resume`` is not
                given, or the run that it holds follows another recipe, photos, warm start or
                number of processes, or not every process finds the same state in it.
            WeightsError: A file of the run is damaged or cannot be written.
            DivergenceError: The loss is infinite or NaN.
        """
        with self.workers, closing(self.trainer.crops), ExitStack() as stack:
            if self.workers.rank == 0:
                self._lock(stack)
            return self._execute(resume, warm_start)

    def _lock(self, stack: ExitStack) -> None:
        try:
            stack.enter_context(self.kept.alone())
        except Exception:
            self.workers.gather(_FAILED)  # the others wait for this process
            raise

    def _execute(self, resume: bool, warm_start: str | Path | None) -> Path:
        self._enter(resume, warm_start)
        started = time.monotonic() - self.seconds
        log = RunLog(self.folder, self._last_step()) if self.workers.rank == 0 else None
        validator = self._validator()
        self.trainer.fill_cache(self.watcher.cached)
        while self.trainer.step < self.recipe.steps:
            values = self.trainer.train_step()
            self.seconds = time.monotonic() - started
            if log is not None:
                self._after_step(values, log, validator)
        if log is not None:
            self._finish(log, validator, started)
            log.close()
        self.workers.wait()
        return self.purifier_file

    @property
    def purifier_file(self) -> Path:
        """Where the purifier is saved."""
        return self.folder / "purifier.safetensors"

    def _enter(self, resume: bool, warm_start: str | Path | None) -> None:
        try:
            self._check(warm_start)
            first = None if warm_start is None else self._usable(load_purifier(warm_start))
            origin = Origin(
                files_hash([*self.photos, *self.held_out]),
                self.workers.world,
                first.card.sha256 if first else "",
            )
            state = self.kept.enter(origin, resume=resume)
            if state is not None:
                self._load(state)
        except Exception:
            self.workers.gather(_FAILED)  # the others wait for this process
            raise
        self._agree(_NO_STATE if state is None else self.trainer.step)
        if state is None and first is not None:
            self.trainer.start_from(first)
        if self.workers.rank == 0:
            self.kept.write_start(origin)

    def _load(self, state: dict[str, Any]) -> None:
        with self.kept.reading_state():
            self.trainer.load_state(state["trainer"])
            self.seconds, self.metrics = state["seconds"], state["metrics"]
            planned = [*state.get("extended", []), json.loads(state["recipe"])["steps"]]
            self.extended = [steps for steps in planned if steps < self.recipe.steps]

    def _check(self, warm_start: str | Path | None) -> None:
        recipe = self.recipe
        if recipe.steps == 0 and (warm_start is None or not recipe.gated):
            raise InputError(
                "steps is 0, which trains the gate of a warm start alone; expected a warm start, "
                f"gate.steps above 0 (it is {recipe.gate.steps}) and a strength other than 1"
            )

    def _agree(self, step: int) -> None:
        """Raise InputError unless all processes go on from the same ``step``."""
        steps = self.workers.gather(step)
        if len(set(steps)) > 1:
            told = ", ".join(f"rank {rank} {_told(found)}" for rank, found in enumerate(steps))
            raise InputError(
                f"the processes do not find the same state: {told}; expected {self.folder} to "
                "hold the same for all: put it on a shared disk, or copy rank 0's to each machine"
            )

    def _usable(self, purifier: Purifier) -> Purifier:
        given, wanted = Design.of(purifier.card), Design.of(self.trainer.purifier.card)
        if given != wanted and not can_grow(given, wanted):
            raise InputError(
                f"the warm start is a {given}; expected {wanted}, or a smaller one if it is of "
                f"{' or '.join(GROWS)}"
            )
        return purifier

    def _validator(self) -> Validator | None:
        if self.workers.rank or not (self.held_out and self.recipe.validation.photos):
            return None
        file = self.folder / "validation.safetensors"
        return Validator(self.recipe, self.held_out, file, self.device)

    def _after_step(
        self, values: dict[str, float], log: RunLog, validator: Validator | None
    ) -> None:
        step, recipe = self.trainer.step, self.recipe
        last = step == recipe.steps
        log.write("train", step, values)
        self.watcher.stepped(step, recipe.steps, values)
        if last or step % recipe.validation.every == 0:
            self._validate(step, log, validator)
        if last or step % recipe.checkpoint_every == 0:
            self._save()

    def _finish(self, log: RunLog, validator: Validator | None, started: float) -> None:
        """Train the gate; a run that was broken off in it starts it anew."""
        recipe = self.recipe
        if not recipe.gated or self._gate_is_done():
            return

        def watch(step: int, values: dict[str, float]) -> None:
            log.write("gate", recipe.steps + step, values)
            self.watcher.gated(step, recipe.gate.steps, values)

        self.trainer.train_gate(watch, self.watcher.cached)
        self._validate(recipe.steps + recipe.gate.steps, log, validator)
        self.seconds = time.monotonic() - started
        self._save()

    def _validate(self, step: int, log: RunLog, validator: Validator | None) -> None:
        if validator is None:
            return
        self.metrics = validator(self.trainer.averaged())
        log.write("validation", step, self.metrics)
        self.watcher.validated(step, self.metrics)

    def _gate_is_done(self) -> bool:
        """Whether the purifier of a finished run is there, gate and all."""
        finished = self.trainer.step == self.recipe.steps and self.purifier_file.exists()
        return finished and load_purifier(self.purifier_file).gate is not None

    def _last_step(self) -> int:
        """What is done, the gate's steps counted on from the purifier's."""
        return self.trainer.step + (self.recipe.gate.steps if self._gate_is_done() else 0)

    def _save(self) -> None:
        # the state last: a kill between the two repeats steps, and never leaves an old purifier
        self.trainer.save(self.purifier_file, self._training_card(), self.metrics)
        self.kept.save(
            {
                "trainer": self.trainer.state(),
                "seconds": self.seconds,
                "metrics": self.metrics,
                "extended": self.extended,
            }
        )

    def _training_card(self) -> dict[str, Any]:
        return {
            "photos": len(self.photos),
            "held_out": len(self.held_out),
            "steps_done": self.trainer.step,
            **({"extended_from": self.extended} if self.extended else {}),
            **self.kept.warm_start(),
            **circumstances(self.seconds, self.device, self.recipe.to_dict()),
        }


_FAILED, _NO_STATE = -2, -1


def _told(step: int) -> str:
    words = {_FAILED: "cannot start, see its own error", _NO_STATE: "has none"}
    return words.get(step, f"has step {step}")


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    return recipe_from_dict(values).to_dict()


def train(
    data: str | Path,
    folder: str | Path,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    warm_start: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """Train a purifier without labels (Algorithm 2) and return its file.

    Args:
        data: Folder of photos, searched recursively.
        folder: Where the run is kept; see :class:`Run`.
        recipe: From :func:`nrpurify.training.recipe.load_recipe`.
        device: Where to train. Under ``torchrun`` all processes share the work.
        resume: Go on with the run in ``folder``.
        warm_start: A purifier to begin from.
        watcher: Sees progress.

    Raises:
        InputError: Data, recipe or folder cannot be used.
    """
    run = Run(recipe, Path(data), Path(folder), torch.device(device), watcher or Silent())
    return run.execute(resume=resume, warm_start=warm_start)
