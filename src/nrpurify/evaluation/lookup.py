"""Attacked images that were made before, looked up by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nrpurify.errors import InputError
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.files import find_images
from nrpurify.floats import float_path, read_float
from nrpurify.images import read_image


def look_up(folder: str | Path) -> Attack:
    """An attack that takes its images from ``folder`` (recursively), by their names' stems.

    Where unrounded values lie beside an image (``nrpurify attack --floats``), those are taken.

    Raises:
        InputError: No image there; when called, one that is missing, that two files could be, or
            that has another size.
        ImageError: When called, a file that cannot be read.
    """
    files: dict[str, list[Path]] = {}
    for file in find_images(folder, recursive=True):
        files.setdefault(file.path.stem, []).append(file.path)

    def find(name: str) -> Path:
        found = files.get(Path(name).stem, [])
        if not found:
            raise InputError(f"{folder} has no attacked image for {name}")
        if len(found) > 1:
            both = " and ".join(path.relative_to(folder).as_posix() for path in found[:2])
            raise InputError(
                f"{both} in {folder} could both be {name}; give them names of their own"
            )
        return found[0]

    def attack(batch: Batch) -> Tensor:
        images = [_read(find(name)) for name in batch.names]
        wanted = batch.images.shape[1:]
        if other := [image for image in images if image.shape != wanted]:
            raise InputError(
                f"{folder} holds images of size {tuple(other[0].shape[1:])}; "
                f"expected {tuple(wanted[1:])}: attack images of the size evaluated at"
            )
        return torch.stack(images).to(batch.images)

    return attack


def _read(path: Path) -> Tensor:
    unrounded = float_path(path)
    return read_float(unrounded) if unrounded.is_file() else read_image(path).rgb
