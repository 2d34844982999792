"""What one worker does: read images, defend them, write them, and hash both files."""

from __future__ import annotations

import copy
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.batch.defend import defend_image, defend_together
from nrpurify.batch.jobs import Item, image_generator
from nrpurify.core.hashing import file_hash
from nrpurify.core.images import Image, read_image, write_image
from nrpurify.core.manifest import Job
from nrpurify.core.opening import Frames, identify
from nrpurify.core.precision import Amp
from nrpurify.defenses import reseed

PIXELS_AT_ONCE = 2**25
"""So many pixels the images in work have together, unless one alone has more."""


@dataclass(frozen=True)
class Made:
    """What came of a job, with the facts for the manifest.

    Attributes:
        item: The job and its status.
        record: ``source_sha256`` and ``sha256`` of a finished output.
    """

    item: Item
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Purification:
    """All that decides an output, and can be sent to another process.

    Attributes:
        defense: A purifier or another module from images to images.
        device: Where to work.
        tile: Side of the tiles in pixels.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
        seed: Of all that is random.
        format: Of the outputs: png, webp or jpeg.
        frames: Of files with several frames or pages: ``refuse`` them, or read the ``first``.
        max_pixels: Larger images are refused.
    """

    defense: nn.Module
    device: torch.device | str
    tile: int
    amp: Amp
    seed: int
    format: str
    frames: Frames
    max_pixels: int


class Worker:
    """Makes the outputs of jobs, from any number of threads at once.

    Each thread has a copy of the defense that shares its weights, so that generators and whatever
    else a defense notes are its own. A defense that cannot be copied works in one thread at a time.

    Args:
        work: What to do.
        batch: Images that a purifier may see together. Of each size the first batch is computed
            image by image too; where a result differs in any bit, images of that size go alone.
        tiles: Threads that share the tiles of large images; None: each image has one thread.
    """

    def __init__(
        self, work: Purification, *, batch: int = 1, tiles: Executor | None = None
    ) -> None:
        self.work, self.batch, self._tiles = work, batch, tiles
        self._own = threading.local()
        self._alone = threading.Lock()
        self._budget = _Budget(PIXELS_AT_ONCE)
        self._agree: dict[torch.Size, bool] = {}

    def __call__(self, jobs: Sequence[Job]) -> list[Made]:
        """Make the outputs of a few jobs; whatever one file does, the others are made."""
        with self._budget.taken(sum(pixel_count(job.source) for job in jobs)):
            made: list[Made] = []
            read: dict[torch.Size, list[tuple[Job, str, Image]]] = defaultdict(list)
            for job in jobs:
                try:
                    source = file_hash(job.source)
                    image = self.read(job.source)
                except Exception as error:  # whatever one file does, the others are made
                    made.append(Made(Item.failed(job, error)))
                else:
                    read[image.pixels.shape].append((job, source, image))
            for group in read.values():
                together = self._together([image for *_, image in group])
                for (job, source, image), defended in zip(group, together, strict=True):
                    made.append(self._finish(job, source, image, defended))
            return made

    def read(self, source: Path | bytes) -> Image:
        """Read an image file, or its content; raises ImageError."""
        return read_image(source, max_pixels=self.work.max_pixels, frames=self.work.frames)

    def defend(self, image: Image, name: Path) -> tuple[Tensor, Tensor | None]:
        """Defend an image; its randomness depends on the seed and ``name`` alone."""
        work = self.work
        with self.defense() as defense:
            reseed(defense, image_generator(work.seed, name))
            return defend_image(
                defense,
                image,
                device=work.device,
                tile=work.tile,
                amp=work.amp,
                executor=self._tiles,
            )

    @contextmanager
    def defense(self) -> Iterator[nn.Module]:
        """This thread's own copy of the defense."""
        if not hasattr(self._own, "defense"):
            self._own.defense = copied(self.work.defense)
        if self._own.defense is not None:
            yield self._own.defense
            return
        with self._alone:
            yield self.work.defense

    def _together(self, images: list[Image]) -> list[tuple[Tensor, Tensor | None] | None]:
        """Defend a whole batch of one size at once; None for each where that cannot be."""
        alone: list[tuple[Tensor, Tensor | None] | None] = [None] * len(images)
        shape, work = images[0].pixels.shape, self.work
        if not (len(images) == self.batch > 1) or self._agree.get(shape) is False:
            return alone
        with self.defense() as defense, suppress(Exception):  # out of memory, or it takes no batch
            found = defend_together(
                defense,
                images,
                device=work.device,
                tile=work.tile,
                amp=work.amp,
                check=shape not in self._agree,
            )
            self._agree.setdefault(shape, found is not None)
            return alone if found is None else list(found)
        return alone

    def _finish(
        self, job: Job, source: str, image: Image, defended: tuple[Tensor, Tensor | None] | None
    ) -> Made:
        try:
            rgb, alpha = defended or self.defend(image, job.relative)
            write_image(job.output, rgb, alpha, format=self.work.format)
            record = {"source_sha256": source, "sha256": file_hash(job.output)}
        except Exception as error:  # whatever one file does, the others are made
            return Made(Item.failed(job, error))
        return Made(Item(job, "done"), record)


def copied(defense: nn.Module) -> nn.Module | None:
    """A copy that shares all tensors; None for a defense that cannot be copied."""
    shared: list[object] = [*defense.parameters(), *defense.buffers()]
    shared += [
        found
        for module in defense.modules()
        if isinstance(found := getattr(module, "generator", None), torch.Generator)
    ]
    try:
        return copy.deepcopy(defense, {id(thing): thing for thing in shared})
    except Exception:  # it holds a session, a lock, an open file ...
        return None


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as the header of an image file has them; zeros where it cannot be read."""
    with suppress(Exception), path.open("rb") as file:
        return identify(file).size  # decoders raise nearly anything; reading the file will tell
    return 0, 0


def pixel_count(path: Path) -> int:
    """How many pixels an image file has, from its header; 0 where that cannot be read."""
    width, height = image_size(path)
    return width * height


class _Budget:
    """Lets threads through, first come first served, while a total is not exceeded."""

    def __init__(self, total: int) -> None:
        self._total, self._used = total, 0
        self._changed = threading.Condition()
        self._next, self._served = 0, 0

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Hold ``amount`` during the block; more than the total waits until nobody holds any."""
        with self._changed:
            ticket, self._next = self._next, self._next + 1
            self._changed.wait_for(
                lambda: (
                    self._served == ticket
                    and (self._used + amount <= self._total or self._used == 0)
                )
            )
            self._served += 1
            self._used += amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()
