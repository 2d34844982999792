"""Attacked images that were made before, looked up by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

import torch
from torch import Tensor

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import find_images
from nrpurify.core.image_tensors import image_tensor_path, load_image_tensor
from nrpurify.core.images import read_image
from nrpurify.evaluation.harness import Attack, Batch


def look_up(folder: str | Path) -> Attack:
    """An attack that takes its images from ``folder`` (recursively), by their names.

    ``a.jpg`` is found as ``a.png`` or, where there was an ``a.png`` too, as ``a.jpg.png``: so
    `nrpurify attack` names them. Of files of one name in several sub-folders the one is meant whose
    sub-folders are those that the image's path ends in. Where unrounded values lie beside an image
    (``nrpurify attack --save-tensors``), those are taken.

    Raises:
        InputError: No image there; when called, one that is missing, that two files could be, or
            that has another size.
        ImageError: When called, a file that cannot be read.
    """
    find = finder(folder)

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


def unreadable(folder: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Why attacked images cannot be read, by the names of their images; looks at all of them.

    Raises:
        InputError: As :func:`look_up`, but for sizes.
    """
    find, reasons = finder(folder), {}
    for name in names:
        try:
            _read(find(name))
        except ImageError as error:
            reasons[name] = str(error)
    return reasons


def finder(folder: str | Path) -> Callable[[str], Path]:
    """Where :func:`look_up` finds the attacked image of a name; raises InputError as it does."""
    files: dict[str, list[PurePath]] = {}
    for file in find_images(folder, recursive=True):
        files.setdefault(file.path.stem, []).append(file.path.relative_to(folder))

    def find(name: str) -> Path:
        wanted = PurePath(name)
        found = files.get(wanted.stem, [])
        if wanted.suffix:
            found = [*files.get(wanted.name, []), *found]
        if not found:
            raise InputError(f"{folder} has no attacked image for {wanted.name}")
        found = [path for path in found if _ends_in(wanted.parent, path.parent)] or found
        found = [path for path in found if path.stem == wanted.name] or found
        if len(found) > 1:
            both = " and ".join(path.as_posix() for path in found[:2])
            raise InputError(
                f"{both} in {folder} could both be {wanted.name}; give them names of their own"
            )
        return Path(folder) / found[0]

    return find


def _ends_in(folder: PurePath, tail: PurePath) -> bool:
    """Whether the last parts of ``folder`` are those of ``tail``, which has some."""
    parts = tail.parts
    return bool(parts) and folder.parts[-len(parts) :] == parts


def _read(path: Path) -> Tensor:
    unrounded = image_tensor_path(path)
    return load_image_tensor(unrounded) if unrounded.is_file() else read_image(path).rgb
