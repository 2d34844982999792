"""Attacked images that were made before, looked up by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nrpurify.errors import InputError
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.files import find_images
from nrpurify.images import read_image


def look_up(folder: str | Path) -> Attack:
    """An attack that takes its images from ``folder`` (recursively), by their names' stems.

    Raises:
        InputError: No image there; when called, one that is missing or has another size.
    """
    files = {file.path.stem: file.path for file in find_images(folder, recursive=True)}

    def attack(batch: Batch) -> Tensor:
        missing = [name for name in batch.names if Path(name).stem not in files]
        if missing:
            raise InputError(f"{folder} has no attacked image for {', '.join(missing[:3])}")
        images = [read_image(files[Path(name).stem]).rgb for name in batch.names]
        if any(image.shape != batch.images.shape[1:] for image in images):
            raise InputError(
                f"{folder} holds images of size {tuple(images[0].shape[1:])}; "
                f"expected {tuple(batch.images.shape[2:])}: attack images of the size evaluated at"
            )
        return torch.stack(images).to(batch.images)

    return attack
