"""The base of all training runs: folder, lock, resume, steps, log, validation, checkpoints."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch

from nrpurify.core.errors import InputError
from nrpurify.core.progress import SILENT, Progress
from nrpurify.training.distributed import Workers
from nrpurify.training.log import RunLog
from nrpurify.training.recipe import TrainingRecipe
from nrpurify.training.run_folder import Origin, RunFolder, circumstances, files_hash


class Trainer(Protocol):
    """Networks, optimizers and data of a run, and its single step.

    All randomness of a step must be a function of the recipe's seed and the step's number. Then a
    run that goes on from a checkpoint gives the same weights as an uninterrupted one.
    """

    step: int

    def train_step(self) -> dict[str, float]:
        """Do one update; return what is logged, ``loss`` among it."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, for :func:`torch.save`."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        ...


class Measurement(NamedTuple):
    """A measurement each ``every`` steps and after the last one."""

    every: int
    measure: Callable[[], dict[str, float]]


class WarmStart(NamedTuple):
    """Weights to begin from: their sha256, and the function that gives them to the trainer."""

    sha256: str
    apply: Callable[[], None]


R = TypeVar("R", bound=TrainingRecipe)
T = TypeVar("T", bound=Trainer)


class TrainingRun(ABC, Generic[R, T]):
    """One run in one folder, executed once.

    The folder gets ``recipe.json``, ``origin.json``, ``run.lock``, ``state.pt`` (to resume), the
    weights with their card, ``log.jsonl`` and ``tensorboard/``. A new kind of training subclasses
    this and :class:`Trainer`, and names in :attr:`weights_name` the file that it writes.

    Args:
        recipe: What to do; it has ``steps`` and ``checkpoint_every``.
        trainer: Does the steps.
        files: The files that the run learns from or is validated on.
        folder: Where the run lives.
        device: Where to train.
        progress: Sees steps with their loss, and validations.
        workers: The processes that share the work.

    Attributes:
        metrics: Of the last validation.
        seconds: Spent so far, those before a resume included.
    """

    weights_name: ClassVar[str]
    extendable: ClassVar[str] = ""
    """A number in the recipe that may be larger when the run goes on; empty for none."""

    def __init__(
        self,
        recipe: R,
        trainer: T,
        files: Iterable[Path],
        folder: Path,
        device: torch.device,
        progress: Progress = SILENT,
        workers: Workers | None = None,
    ) -> None:
        self.recipe, self.trainer, self.files = recipe, trainer, list(files)
        self.folder, self.device = folder, device
        self.progress = progress
        self.workers = workers or Workers()
        self.store = RunFolder(
            folder,
            recipe.to_dict(),
            lambda values: type(recipe).from_dict(values).to_dict(),
            extends=self.extendable,
        )
        self.extended: list[int] = []
        self.metrics: dict[str, float] = {}
        self.seconds = 0.0
        self._started = time.monotonic()
        self._log: RunLog | None = None
        self._validator: Measurement | None = None

    @property
    def steps(self) -> int:
        """Number of updates in all."""
        return int(self.recipe.steps)  # type: ignore[attr-defined]

    @property
    def weights_file(self) -> Path:
        """Where the weights are saved."""
        return self.folder / self.weights_name

    def execute(self, *, resume: bool = False, warm_start: str | Path | None = None) -> Path:
        """Train to the end and return the file of the weights.

        Args:
            resume: Go on from ``state.pt`` in the folder; without one, start at step 0.
            warm_start: Weights to begin from.

        Raises:
            InputError: Another process trains in the folder, it holds a run and ``resume`` is not
                given, or that run has another recipe, other files, another warm start or another
                number of processes, or not every process finds the same state in it.
            WeightsError: A file of the run is damaged or cannot be written.
            DivergenceError: The loss is infinite or NaN.
        """
        with self.workers, ExitStack() as stack:
            stack.callback(self._close)
            if self.workers.rank == 0:
                self._lock(stack)
            self._enter(resume, warm_start)
            self._train()
            if self.workers.rank == 0:
                self._finish()
            if self._log is not None:
                self._log.close()
            self.workers.wait()
        return self.weights_file

    def _lock(self, stack: ExitStack) -> None:
        try:
            stack.enter_context(self.store.alone())
        except Exception:
            self.workers.gather(_FAILED)  # the other processes wait for this one
            raise

    def _enter(self, resume: bool, warm_start: str | Path | None) -> None:
        """Check the folder and load its state, or the warm start."""
        try:
            self._check(warm_start)
            first = None if warm_start is None else self._warm_start(warm_start)
            origin = Origin(
                files_hash(self.files), self.workers.world, first.sha256 if first else ""
            )
            state = self.store.enter(origin, resume=resume)
            if state is not None:
                self._load(state)
        except Exception:
            self.workers.gather(_FAILED)  # the other processes wait for this one
            raise
        self._agree(_NO_STATE if state is None else self.trainer.step)
        if state is None and first is not None:
            first.apply()
        if self.workers.rank == 0:
            self.store.write_start(origin)

    def _load(self, state: dict[str, Any]) -> None:
        with self.store.reading_state():
            self.trainer.load_state(state["trainer"])
            self.seconds, self.metrics = float(state["seconds"]), state.get("metrics", {})
            if self.extendable:
                before = json.loads(state["recipe"])[self.extendable]
                planned = [*state.get("extended", []), before]
                self.extended = [steps for steps in planned if steps < self.steps]

    def _agree(self, step: int) -> None:
        """Raise InputError unless all processes go on from the same ``step``."""
        steps = self.workers.gather(step)
        if len(set(steps)) > 1:
            found = ", ".join(f"rank {rank} {_state(step)}" for rank, step in enumerate(steps))
            raise InputError(
                f"the processes do not find the same state: {found}; expected {self.folder} to "
                "hold the same for all: put it on a shared disk, or copy rank 0's to each machine"
            )

    def _train(self) -> None:
        self._started = time.monotonic() - self.seconds
        if self.workers.rank == 0:
            self._log = RunLog(self.folder, self._last_step())
            self._validator = self._validation()
        self._prepare()
        while self.trainer.step < self.steps:
            values = self.trainer.train_step()
            self._count_time()
            if self._log is not None:
                self._after_step(values, self._log)

    def _count_time(self) -> None:
        self.seconds = time.monotonic() - self._started

    def _after_step(self, values: dict[str, float], log: RunLog) -> None:
        step = self.trainer.step
        last = step == self.steps
        log.write("train", step, values)
        self.progress.update("train", step, self.steps, values)
        if self._validator is not None and (last or step % self._validator.every == 0):
            self._validate(step)
        if last or step % self.recipe.checkpoint_every == 0:  # type: ignore[attr-defined]
            self._checkpoint()

    def _validate(self, step: int) -> None:
        if self._validator is None or self._log is None:
            return
        self.metrics = self._validator.measure()
        self._log.write("validation", step, self.metrics)
        self.progress.note(f"step {step}", self.metrics)

    def _checkpoint(self) -> None:
        # the state last: a kill between the two repeats steps, and never leaves old weights
        self._write_weights()
        self._write_state()

    def _write_state(self) -> None:
        self.store.save(
            {
                "trainer": self.trainer.state(),
                "seconds": self.seconds,
                "metrics": self.metrics,
                "extended": self.extended,
            }
        )

    def training_card(self) -> dict[str, Any]:
        """The entry ``training`` of the weights' card."""
        return {
            **self._counts(),
            "steps_done": self.trainer.step,
            **({"extended_from": self.extended} if self.extended else {}),
            **self.store.warm_start(),
            **circumstances(self.seconds, self.device, self.recipe.to_dict()),
        }

    @abstractmethod
    def _counts(self) -> dict[str, int]:
        """How many files were trained on and held out, for the card."""

    @abstractmethod
    def _write_weights(self) -> None:
        """Write :attr:`weights_file` with its card."""

    def _check(self, warm_start: str | Path | None) -> None:
        """Raise InputError if recipe and warm start do not fit each other."""

    def _warm_start(self, source: str | Path) -> WarmStart:
        """Read weights to begin from."""
        raise InputError(f"{type(self).__name__} takes no warm start; {source} was given")

    def _validation(self) -> Measurement | None:
        """What is measured along the way; None for nothing."""
        return None

    def _prepare(self) -> None:
        """Called once before the first step, with the state loaded."""

    def _finish(self) -> None:
        """Called by rank 0 after the last step, also when a finished run is resumed."""

    def _last_step(self) -> int:
        """The number of the last log line that is kept."""
        return self.trainer.step

    def _close(self) -> None:
        """Called when the run ends, or is broken off by an error."""


_FAILED, _NO_STATE = -2, -1


def _state(step: int) -> str:
    words = {_FAILED: "cannot start, see its own error", _NO_STATE: "has none"}
    return words.get(step, f"has step {step}")
