"""A whole training run of a purifier and its gate (Algorithm 2)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, SILENT, Progress
from nrpurify.purifiers import load_purifier
from nrpurify.purifiers.registry import Design
from nrpurify.training.distributed import join_workers
from nrpurify.training.net2net import EXPANDABLE, can_expand
from nrpurify.training.photos import split_photos
from nrpurify.training.purifier_recipe import Recipe
from nrpurify.training.purifier_trainer import PurifierTrainer
from nrpurify.training.run import Measurement, TrainingRun, WarmStart
from nrpurify.training.validation import Validator


class PurifierRun(TrainingRun[Recipe, PurifierTrainer]):
    """One run in one folder; see :class:`nrpurify.training.run.TrainingRun`.

    After the purifier its gate is trained, where the recipe has one. The folder also gets the
    adversary cache. With ``resume``, a recipe with more ``steps`` extends the run: it goes on by
    the longer schedule of learning rates, and the gate is trained again. The result differs from
    that of one longer run. A warm start is a purifier of the same design or one that can be
    expanded (:func:`nrpurify.training.net2net.can_expand`).

    Args:
        recipe: What to do.
        data: Folder of photos; no labels are read.
        folder: Where the run lives.
        device: Where to train.
        progress: Sees shards of adversaries, steps, and validations.
        loader_threads: Threads that read and crop photos ahead where the recipe has no cache;
            results do not depend on them.
    """

    weights_name = "purifier.safetensors"
    extendable = "steps"

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        device: torch.device,
        progress: Progress = SILENT,
        loader_threads: int = 2,
    ) -> None:
        workers = join_workers(device)
        self.photos, self.held_out = split_photos(data, recipe.holdout)
        trainer = PurifierTrainer(
            recipe, self.photos, folder, device, workers, loader_threads=loader_threads
        )
        files = [*self.photos, *self.held_out]
        super().__init__(recipe, trainer, files, folder, device, progress, workers)

    def _check(self, warm_start: str | Path | None) -> None:
        recipe = self.recipe
        if recipe.steps == 0 and (warm_start is None or not recipe.gated):
            raise InputError(
                "steps is 0, which trains the gate of a warm start alone; expected a warm start, "
                f"gate.steps above 0 (it is {recipe.gate.steps}) and a strength other than 1"
            )

    def _warm_start(self, source: str | Path) -> WarmStart:
        purifier = load_purifier(source)
        given, wanted = Design.of(purifier.card), Design.of(self.trainer.purifier.card)
        if given != wanted and not can_expand(given, wanted):
            raise InputError(
                f"the warm start is a {given}; expected {wanted}, or a smaller one if it is of "
                f"{' or '.join(EXPANDABLE)}"
            )
        return WarmStart(purifier.card.sha256, lambda: self.trainer.start_from(purifier))

    def _validation(self) -> Measurement | None:
        plan = self.recipe.validation
        if not (self.held_out and plan.photos):
            return None
        file = self.folder / "validation.safetensors"
        validator = Validator(self.recipe, self.held_out, file, self.device)
        return Measurement(plan.every, lambda: validator(self.trainer.averaged()))

    def _prepare(self) -> None:
        self.trainer.fill_cache(self.progress)

    def _finish(self) -> None:
        """Train the gate; a run that ended within its training starts the gate again."""
        recipe, log = self.recipe, self._log
        if log is None or not recipe.gated or self._gate_is_done():
            return

        def after_step(step: int, values: dict[str, float]) -> None:
            log.write("gate", recipe.steps + step, values)
            self.progress.update("gate", step, recipe.gate.steps, values)

        self.trainer.train_gate(after_step, self.progress)
        self._validate(recipe.steps + recipe.gate.steps)
        self._count_time()
        self._checkpoint()

    def _gate_is_done(self) -> bool:
        """Whether the purifier of a finished run is there, gate and all."""
        finished = self.trainer.step == self.recipe.steps and self.weights_file.exists()
        return finished and load_purifier(self.weights_file).gate is not None

    def _last_step(self) -> int:
        """The steps done; those of the gate are counted on from the purifier's."""
        return self.trainer.step + (self.recipe.gate.steps if self._gate_is_done() else 0)

    def _counts(self) -> dict[str, int]:
        return {"photos": len(self.photos), "held_out": len(self.held_out)}

    def _write_weights(self) -> None:
        self.trainer.save(self.weights_file, self.training_card(), self.metrics)

    def _close(self) -> None:
        self.trainer.crops.close()


class _OldWatcher(Progress):
    """An object with the methods ``cached``, ``stepped``, ``gated`` and ``validated``."""

    def __init__(self, watcher: Any) -> None:
        self.watcher = watcher

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        """Call the method of the kind of step."""
        if what == "adversaries":
            self.watcher.cached(done, total)
        elif what == "train":
            self.watcher.stepped(done, total, values)
        else:
            self.watcher.gated(done, total, values)

    def note(self, text: str, values: Mapping[str, float] = NO_VALUES) -> None:
        """Call the method of validations."""
        self.watcher.validated(int(text.split()[-1]), values)


def train(
    data: str | Path,
    folder: str | Path,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    warm_start: str | Path | None = None,
    progress: Progress = SILENT,
    watcher: Any = None,
) -> Path:
    """Train a purifier without labels (Algorithm 2) and return its file.

    Args:
        data: Folder of photos, searched recursively.
        folder: Where the run is kept; see :class:`PurifierRun`.
        recipe: From :func:`nrpurify.training.load_recipe`.
        device: Where to train. Under ``torchrun`` all processes share the work.
        resume: Go on with the run in ``folder``.
        warm_start: A purifier to begin from.
        progress: Sees shards of adversaries, steps, and validations.
        watcher: The old form of ``progress``, until 0.3.

    Raises:
        InputError: Data, recipe or folder cannot be used.

    Examples:
        >>> recipe = nrpurify.load_recipe("smoke")
        >>> nrpurify.train("photos/", "runs/mine", recipe)  # doctest: +SKIP
        PosixPath('runs/mine/purifier.safetensors')
    """
    if watcher is not None:
        warnings.warn(
            "watcher= of train is progress= now, a nrpurify.core.progress.Progress",
            DeprecationWarning,
            stacklevel=2,
        )
        progress = _OldWatcher(watcher)
    run = PurifierRun(recipe, Path(data), Path(folder), torch.device(device), progress)
    return run.execute(resume=resume, warm_start=warm_start)
