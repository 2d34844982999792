"""A whole training run of CDA: data, steps, validation, log, checkpoints, resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.attacks.cda import cda
from nrpurify.attacks.generator import BLOCKS
from nrpurify.attacks.trained import GENERATOR, save_generator
from nrpurify.models import load_classifier
from nrpurify.purifiers import Card
from nrpurify.training.attack_recipe import AttackValidation, CdaRecipe
from nrpurify.training.cda_trainer import CdaTrainer
from nrpurify.training.file_errors import writable
from nrpurify.training.log import RunLog
from nrpurify.training.photos import center_crops, split_photos
from nrpurify.training.run import Silent, Watcher
from nrpurify.training.run_folder import Origin, RunFolder, circumstances, files_hash


@dataclass
class CdaRun:
    """One run in one folder.

    The folder gets ``recipe.json``, ``state.pt`` (to resume), ``generator.safetensors`` (with its
    card), ``log.jsonl`` and ``tensorboard/``.

    Attributes:
        recipe: What to do.
        data: Folder of photos; no labels are read.
        folder: Where the run lives.
        device: Where to train.
        watcher: Sees progress.
    """

    recipe: CdaRecipe
    data: Path
    folder: Path
    device: torch.device
    watcher: Watcher = field(default_factory=Silent)

    def __post_init__(self) -> None:
        self.photos, self.held_out = split_photos(self.data, self.recipe.holdout)
        self.trainer = CdaTrainer(self.recipe, self.photos, self.device)
        self.kept = RunFolder(self.folder, self.recipe.to_dict())
        self.metrics: dict[str, float] = {}
        self.seconds = 0.0

    @property
    def generator_file(self) -> Path:
        """Where the generator is saved."""
        return self.folder / "generator.safetensors"

    def execute(self, *, resume: bool = False) -> Path:
        """Train to the end and return the generator's file.

        Args:
            resume: Go on from ``state.pt`` in the folder; without one, start anew.

        Raises:
            InputError: Another process trains in the folder, it holds a run and ``resume`` is not
                given, or the run that it holds follows another recipe or photos.
        """
        with self.kept.alone():
            return self._execute(resume)

    def _execute(self, resume: bool) -> Path:
        origin = Origin(files_hash([*self.photos, *self.held_out]))
        state = self.kept.enter(origin, resume=resume)
        if state is not None:
            with self.kept.reading_state():
                self.trainer.load_state(state["trainer"])
                self.seconds, self.metrics = state["seconds"], state["metrics"]
        self.kept.write_start(origin)
        started = time.monotonic() - self.seconds
        log, validate = RunLog(self.folder, self.trainer.step), self._validation()
        while self.trainer.step < self.recipe.steps:
            values = self.trainer.train_step()
            self.seconds = time.monotonic() - started
            self._after_step(values, log, validate)
        log.close()
        return self.generator_file

    def _validation(self) -> Callable[[], dict[str, float]] | None:
        plan = self.recipe.validation
        if not self.held_out or not plan.photos:
            return None
        victim = load_classifier(plan.victim, device=self.device)
        clean = center_crops(self.held_out[: plan.photos], plan.side).to(self.device)
        return lambda: agreement(self.trainer.average, victim, clean, plan)

    def _after_step(
        self,
        values: dict[str, float],
        log: RunLog,
        validate: Callable[[], dict[str, float]] | None,
    ) -> None:
        step, recipe = self.trainer.step, self.recipe
        last = step == recipe.steps
        log.write("train", step, values)
        self.watcher.stepped(step, recipe.steps, values)
        if validate is not None and (last or step % recipe.validation.every == 0):
            self.metrics = validate()
            log.write("validation", step, self.metrics)
            self.watcher.validated(step, self.metrics)
        if last or step % recipe.checkpoint_every == 0:
            self._save()

    def _save(self) -> None:
        # the state last: a kill between the two repeats steps, and never leaves an old generator
        with writable(self.generator_file):
            save_generator(self.trainer.average, self.generator_file, self._card())
        self.kept.save(
            {"trainer": self.trainer.state(), "seconds": self.seconds, "metrics": self.metrics}
        )

    def _card(self) -> Card:
        arguments = {"blocks": BLOCKS[self.recipe.size]}
        training: dict[str, Any] = {
            "photos": len(self.photos),
            "held_out": len(self.held_out),
            "steps_done": self.trainer.step,
            **circumstances(self.seconds, self.device, self.recipe.to_dict()),
        }
        return Card("cda", GENERATOR, arguments, training, dict(self.metrics))


@torch.no_grad()
def agreement(
    generator: torch.nn.Module,
    victim: Callable[[Tensor], Tensor],
    clean: Tensor,
    plan: AttackValidation,
) -> dict[str, float]:
    """``agree_8`` and so on: how often ``victim`` says of attacked images what it says of clean.

    Args:
        generator: The attack.
        victim: A classifier.
        clean: N×3×H×W in [0, 1].
        plan: Its ``eps`` are used; 8/255 is written as 8.
    """
    label = victim(clean).argmax(1)
    return {
        f"agree_{255 * eps:.3g}": float(
            (victim(cda(generator, clean, eps=eps)).argmax(1) == label).float().mean()
        )
        for eps in plan.eps
    }
