"""Targets of attacks that lead toward a class: drawn for each image."""

from __future__ import annotations

import torch
from torch import Tensor

from nrpurify.attacks.losses import random_targets
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.random import derive_generator
from nrpurify.evaluation.batches import Batch


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
