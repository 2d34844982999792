"""What a plan is measured with: images, networks, and the folder of attacked images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.attacks.losses import random_targets
from nrpurify.core.groups import span
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.precision import arithmetic
from nrpurify.core.progress import Progress
from nrpurify.core.random import derive_generator
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.made_before import MadeBefore
from nrpurify.evaluation.networks import Networks, surrogate_names
from nrpurify.evaluation.plan import EvaluationPlan, PlannedAttack
from nrpurify.evaluation.tasks import Samples, Task


@dataclass(frozen=True)
class Chunk:
    """Some images of a run: a batch, their targets, and the numbers of first and last."""

    batch: Batch
    targets: list[Any]
    rows: slice


@dataclass
class Setup:
    """All that is loaded and checked before anything is measured.

    Attributes:
        plan: What is measured; with victims and metrics.
        task: What is asked.
        samples: On what.
        networks: With what.
        facts: What the task knows of each victim.
        made: Images made before, by the attack's place in the plan.
        folder: Where attacked images are kept.
        versions: Of this package, torch, Python and the plug-ins in use.
        device: Where to work.
        progress: Watches.
    """

    plan: EvaluationPlan
    task: Task
    samples: Samples
    networks: Networks
    facts: dict[str, dict[str, Any]]
    made: dict[int, MadeBefore]
    folder: Path
    versions: dict[str, str]
    device: str
    progress: Progress

    @property
    def group(self) -> int:
        """Images that a network sees together."""
        return self.plan.group if self.task.one_size else 1

    def basis(self, attack: PlannedAttack | None, names: Sequence[str]) -> dict[str, Any]:
        """What decides attacked images and results, with the hashes of the networks ``names``."""
        surrogates = surrogate_names(attack) if attack else ()
        trained = self.networks.trained
        own = [attack.purifier, trained.get((attack.name, attack.trained), "")] if attack else []
        names = [*names, *surrogates, *(f"features of {name}" for name in surrogates), *own]
        used = {name: sha for name, sha in self.networks.hashes.items() if name in names}
        return {
            "size": self.samples.size,
            "seed": self.plan.seed,
            "group": self.group,
            "rounding": self.plan.rounding,
            "precision": self.precision(attack is None or attack.transfers),
            "weights_sha256": used,
            "versions": self.versions,
            **({"classes": self.classes} if attack and attack.labels == "random" else {}),
        }

    def precision(self, may_be_half: bool) -> str:
        """The arithmetic in use; fp32 where bf16 is not allowed."""
        return arithmetic(self.plan.amp, self.device) if may_be_half else "fp32"

    @property
    def classes(self) -> int:
        """Classes that all victims have."""
        return min(int(facts["classes"]) for facts in self.facts.values())

    def targets(self, attack: PlannedAttack | None, batch: Batch) -> Tensor | None:
        """The classes toward which an attack leads; None for one that leads away."""
        if attack is None or attack.labels != "random":
            return None
        return drawn_targets(batch, self.classes, self.plan.seed)

    def chunks(self) -> Iterator[Chunk]:
        """All images: whole groups at a time, or one by one where sizes differ."""
        count = span(self.plan.batch, self.group) if self.task.one_size else 1
        for start in range(0, len(self.samples), count):
            yield self.chunk(start, start + count)

    def chunk(self, start: int, end: int) -> Chunk:
        """Images ``start`` to ``end``, which have one size."""
        end = min(end, len(self.samples))
        batch, targets = self.samples.batch(start, end, self.device, self.task.class_labels)
        return Chunk(batch, targets, slice(start, end))


def drawn_targets(batch: Batch, classes: int, seed: int) -> Tensor:
    """A class for each image that is not its own, the same in every batch and on every device.

    Args:
        batch: Clean images with labels.
        classes: How many there are, at least 2.
        seed: Of the run.
    """
    drawn = [
        random_targets(label[None], classes, derive_generator(seed, "target", pixels_hash(image)))
        for image, label in zip(batch.images, batch.labels, strict=True)
    ]
    return torch.cat(drawn)
