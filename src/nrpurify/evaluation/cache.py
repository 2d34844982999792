"""Attacked images on disk: made once, verified by the manifest each time they are read.

The manifest is that of :mod:`nrpurify.core.manifest`, the same as of the command ``attack``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from torch import Tensor

from nrpurify.attacks.constraints import round_within
from nrpurify.attacks.gradient_log import GradientCount, log_gradients
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.hashing import content_hashes, digest, file_hash
from nrpurify.core.image_files import find_images, image_tensor_path
from nrpurify.core.image_tensors import load_image_tensor, save_image_tensor
from nrpurify.core.images import read_image, write_png
from nrpurify.core.records import (
    MANIFEST,
    OLD_MANIFEST,
    Head,
    Records,
    append_lines,
    head_id,
    is_unchanged,
    read_records,
    write_records,
)
from nrpurify.evaluation.batches import Attack, Batch, check_budget

Rounding = Literal["float", "uint8"]


def checked(
    clean: Tensor, attacked: Tensor, eps: float, rounding: Rounding, norm: str = "linf"
) -> Tensor:
    """The attacked images within their budget; ``uint8`` rounds them to 8 bits inside it.

    Raises:
        AssertionError: The attack left its budget or [0, 1].
    """
    check_budget(clean, attacked, eps, norm)
    if rounding == "float":
        return attacked
    return round_within(attacked, clean, eps, norm).to(clean)


@dataclass
class AttackCache:
    """The attacked images of one attack at one eps: a folder with a manifest.

    Of each file the manifest has ``source_sha256``, ``sha256``, ``linf``, the ‖δ‖∞ as it is
    stored, ``seconds`` spent, and where gradients led nowhere ``gradient`` with the counts of
    :class:`nrpurify.attacks.gradient_log.GradientCount`.

    Attributes:
        folder: Where they are.
        head: Settings, versions and hashes of weights, see
            :func:`nrpurify.core.manifest.make_head`; images of another head are made again.
        make: Attacks a batch.
        eps: The budget.
        rounding: ``uint8`` keeps PNG files, ``float`` safetensors.
        norm: Of the budget.
    """

    folder: Path
    head: Head
    make: Callable[[Batch], Tensor]
    eps: float
    rounding: Rounding
    norm: str = "linf"
    records: Records = field(default_factory=Records)

    def __post_init__(self) -> None:
        self.head = json.loads(json.dumps(self.head))
        try:
            found = read_records(self.folder)
        except InputError:
            found = None  # made again: files that no manifest vouches for are not used
        if found is not None and all(head == self.head for head in found.runs.values()):
            self.records = found

    @property
    def seconds(self) -> float:
        """Time spent on all images."""
        return sum(float(entry.get("seconds", 0)) for entry in self.records.files.values())

    def get(self, batch: Batch, hashes: Sequence[str]) -> Tensor:
        """The attacked images of a batch, from disk if all are there, whole and unchanged.

        Args:
            batch: Clean images.
            hashes: sha256 of their files.

        Raises:
            AssertionError: The attack left its budget.
        """
        paths = [self._path(name) for name in batch.names]
        if not all(self._holds(path, sha) for path, sha in zip(paths, hashes, strict=True)):
            self._make(batch, paths, hashes)
        return torch.stack([_read_stored(path) for path in paths]).to(batch.images)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{'.png' if self.rounding == 'uint8' else '.safetensors'}"

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _holds(self, path: Path, source: str) -> bool:
        entry = self.records.files.get(self._key(path), {})
        return entry.get("source_sha256") == source and is_unchanged(path, entry.get("sha256"))

    def gradients(self) -> list[GradientCount]:
        """What the attack met at each image made so far."""
        files = self.records.files.values()
        return [GradientCount.from_dict(entry.get("gradient")) for entry in files]

    def _make(self, batch: Batch, paths: Sequence[Path], hashes: Sequence[str]) -> None:
        begun = time.perf_counter()
        with log_gradients() as log:
            made = self.make(batch)
        counts = log.images or [GradientCount()] * len(paths)
        attacked = checked(batch.images, made, self.eps, self.rounding, self.norm)
        seconds = round((time.perf_counter() - begun) / len(paths), 4)
        write = write_png if self.rounding == "uint8" else save_image_tensor
        run = self._begin()
        rows = zip(paths, hashes, attacked, batch.images, counts, strict=True)
        for path, source, image, clean, count in rows:
            write(path, image)
            self.records.files[self._key(path)] = {
                "source_sha256": source,
                "sha256": file_hash(path),
                "run": run,
                "linf": float((image - clean).abs().max()),
                "seconds": seconds,
                **({"gradient": known} if (known := count.to_dict()) else {}),
            }
        keys = [self._key(path) for path in paths]
        append_lines(self.folder, ({"output": key, **self.records.files[key]} for key in keys))

    def _begin(self) -> str:
        """Put the head on disk before the first image; the run's id."""
        run = head_id(self.head)
        if run not in self.records.runs or not (self.folder / MANIFEST).exists():
            self.records.runs = {run: self.head}
            write_records(self.folder, self.records, run)
            (self.folder / OLD_MANIFEST).unlink(missing_ok=True)
        return run


def _read_stored(path: Path) -> Tensor:
    return read_image(path).rgb if path.suffix == ".png" else load_image_tensor(path)


def stored_images(folder: Path, names: Sequence[str]) -> Tensor | None:
    """The images N×3×H×W in [0, 1] that a cache in ``folder`` has under these names.

    None where there is no manifest.
    """
    if read_records(folder) is None:
        return None
    paths = [folder / f"{name}.png" for name in names]
    found = [
        path if path.exists() else path.with_name(f"{name}.safetensors")
        for path, name in zip(paths, names, strict=True)
    ]
    return torch.stack([_read_stored(path) for path in found])


def read_made_before(folder: Path) -> tuple[dict[str, Any], float, str]:
    """What the manifest of ``nrpurify attack``, or of an earlier run, records about its attack.

    Returns:
        The settings, with hashes of the images; the eps, or the largest change that the
        manifest notes if rounding made that more; and its norm.

    Raises:
        InputError: No manifest there, or one that says too little.
    """
    try:
        records = read_records(folder)
        if records is None:
            raise InputError("no manifest.jsonl, and no manifest.json of version 0.1.0")
        head = records.head()
        settings = {**head["settings"], "weights_sha256": head["weights_sha256"]}
        norm = str(settings.get("norm") or "linf")  # version 0.1.0 had no other one
        changes = [entry[norm] for entry in records.files.values() if norm in entry]
        eps = max([float(settings["eps"]), *changes])
        settings = {**settings, "attack": str(settings["attack"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{str(folder)!r} has no manifest of one attack ({error}); give a folder that "
            "`nrpurify attack` made"
        ) from error
    images = {"attacked": folder.name, "attacked_sha256": folder_hash(folder)}
    return {**images, **settings}, eps, norm


def folder_hash(folder: Path) -> str:
    """sha256 of all images of a folder, and of unrounded values beside them."""
    images = find_images(folder, recursive=True)
    paths = [path for image in images for path in (image.path, image_tensor_path(image.path))]
    held = [path for path in paths if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in held]
    return digest([list(row) for row in zip(names, content_hashes(held), strict=True)])


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
        images = [_read_unrounded(find(name)) for name in batch.names]
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
            _read_unrounded(find(name))
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


def _read_unrounded(path: Path) -> Tensor:
    unrounded = image_tensor_path(path)
    return load_image_tensor(unrounded) if unrounded.is_file() else read_image(path).rgb
