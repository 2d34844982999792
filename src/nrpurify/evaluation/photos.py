"""The labeled images of a grid: all readable, hashed, given batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nrpurify.core.config import RecipeError, at
from nrpurify.core.errors import ImageError
from nrpurify.core.files import LeftOut, log_left_out
from nrpurify.core.hashing import content_hashes
from nrpurify.core.images import load_batch
from nrpurify.data.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.evaluation.grid_recipe import GridImages
from nrpurify.evaluation.harness import Batch


@dataclass(frozen=True)
class Photos:
    """Images of one size.

    Attributes:
        names: Unique names: number and stem of the file.
        items: Files and labels from 0.
        hashes: sha256 of the files.
        size: Side in pixels.
        device: Where batches go.
        folder: Name of the folder.
        rule: How they were chosen.
        notes: What the user should know.
        broken: Images and entries of the folder that could not be read, with reasons; they are in
            no number.
    """

    names: list[str]
    items: list[LabeledImage]
    hashes: list[str]
    size: int
    device: str
    folder: str
    rule: str
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, count: int) -> Iterator[Batch]:
        """All images in order, ``count`` at a time."""
        for start in range(0, len(self), count):
            yield self.batch(start, start + count)

    def batch(self, start: int, end: int) -> Batch:
        """Images ``start`` to ``end``, in [0, 1]."""
        chunk = self.items[start:end]
        images = load_batch([item.path for item in chunk], self.size, crop=True)
        labels = torch.tensor([item.label for item in chunk], device=self.device)
        return Batch(images.to(self.device), labels, self.names[start:end])


def open_photos(
    given: GridImages, items: Sequence[LabeledImage] | None, device: str = "cpu"
) -> Photos:
    """Find, read once and hash the images of a grid.

    Args:
        given: The recipe's images.
        items: In place of its folder and labels.
        device: Where batches go.

    Raises:
        RecipeError: No images, or none that can be read.
    """
    left_out: list[LeftOut] = []
    found, notes = _items(given, items, left_out)
    log_left_out([left for left in left_out if not left.lost])
    broken = [f"cannot read {left}" for left in left_out if left.lost]
    chosen = _readable(found[: given.limit], given.size, broken)
    if not chosen:
        raise RecipeError(
            (("images", "folder"), f"no image can be read, mend them: {'; '.join(broken[:3])}")
        )
    return Photos(
        [f"{index:05d}-{item.path.stem[:60]}" for index, item in enumerate(chosen)],
        chosen,
        content_hashes([item.path for item in chosen]),
        given.size,
        device,
        Path(given.folder).name or chosen[0].path.parent.name,
        f"the first {len(chosen)} of {len(found)} labeled images, in the order of their paths",
        notes,
        broken,
    )


def _items(
    given: GridImages, items: Sequence[LabeledImage] | None, left_out: list[LeftOut]
) -> tuple[list[LabeledImage], list[str]]:
    if items is not None:
        if not items:
            raise RecipeError((("images",), "no labeled image was given; expected at least one"))
        return list(items), []
    if not given.folder:
        raise RecipeError((("images", "folder"), "is missing; expected a folder of images"))
    if given.labels and given.classes:
        problem = "goes with one sub-folder a class; leave it or labels out"
        raise RecipeError((("images", "classes"), problem))
    if given.labels:
        with at("images", "labels"):
            paired = labeled_images(given.folder, given.labels, left_out=left_out)
        return paired.items, paired.notes()
    with at("images", "classes" if given.classes else "folder"):
        found, _ = read_labeled_folder(given.folder, given.classes or None, left_out=left_out)
        return found, []


def _readable(items: Sequence[LabeledImage], size: int, broken: list[str]) -> list[LabeledImage]:
    kept = []
    for item in items:
        try:
            load_batch([item.path], size, crop=True)
            kept.append(item)
        except ImageError as error:
            broken.append(str(error))
    return kept
