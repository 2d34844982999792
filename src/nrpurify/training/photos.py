"""Unlabeled training photos: listing, the held-out share, random crops, reading ahead."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import find_images
from nrpurify.core.images import from_uint8, read_image, to_uint8
from nrpurify.core.random import random_integer

T = TypeVar("T")
_LOGGER = logging.getLogger(__name__)


class Kernel(NamedTuple):
    """How a photo is resized: interpolation, and whether what is too fine is filtered out first."""

    mode: str = "bicubic"
    antialias: bool = True


KERNELS = (Kernel(), Kernel("bilinear"), Kernel("bicubic", False), Kernel("bilinear", False))


def split_photos(folder: str | Path, holdout: float) -> tuple[list[Path], list[Path]]:
    """List the photos below ``folder`` as (training, held out).

    The split depends on the files' names alone, so it is the same on every machine and run.

    Args:
        folder: Searched recursively.
        holdout: Share kept out of training, in [0, 1).

    Raises:
        InputError: Fewer than two photos, or a share outside [0, 1).
    """
    if not 0 <= holdout < 1:
        raise InputError(f"holdout is {holdout}; expected a share in [0, 1)")
    files = find_images(folder, recursive=True)
    paths = sorted((file.path for file in files), key=lambda path: rank(path.name))
    if len(paths) < 2:
        raise InputError(f"{folder} holds {len(paths)} photo; expected at least 2")
    held = min(max(round(holdout * len(paths)), 1 if holdout else 0), len(paths) - 1)
    return paths[held:], paths[:held]


def rank(name: str) -> str:
    """Puts names in an order that is random, and always the same."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def random_crop(
    photos: list[Path],
    side: int,
    resize: tuple[int, int],
    generator: Generator,
    kernel: Kernel = KERNELS[0],
    *,
    square: bool = False,
) -> Tensor:
    """Cut one 3×side×side crop in [0, 1] out of a random photo.

    The photo's short side is first resized to a random length in ``resize`` (at least ``side``);
    with ``square`` both sides are, whatever the photo's aspect.
    A photo that cannot be read is passed over, and named in the log the first time.

    Raises:
        ImageError: Ten photos in a row cannot be read.
    """
    problem: ImageError | None = None
    for _ in range(10):
        path = photos[random_integer(0, len(photos) - 1, generator)]
        short = max(random_integer(*resize, generator), side)
        try:
            photo = read_resized(path, short, kernel, square=square)
        except ImageError as error:
            problem = error
            _name_once(path, error)
            continue
        top = random_integer(0, photo.shape[1] - side, generator)
        left = random_integer(0, photo.shape[2] - side, generator)
        return photo[:, top : top + side, left : left + side]
    raise ImageError(f"ten photos in a row cannot be read; the last: {problem}") from problem


_named: set[Path] = set()


def _name_once(path: Path, error: ImageError) -> None:
    if path not in _named:
        _named.add(path)
        _LOGGER.warning("not trained on (%d photos so far): %s", len(_named), error)


def read_resized(
    path: Path, short: int, kernel: Kernel = KERNELS[0], *, square: bool = False
) -> Tensor:
    """Read a photo, its short side resized to ``short`` pixels: 3×H×W in steps of 1/255.

    With ``square`` both sides are.

    Raises:
        ImageError: It cannot be read, or one side is over 16 times the other.
    """
    photo = read_image(path, frames="first").rgb[None]
    height, width = photo.shape[-2:]
    scale = short / min(height, width)
    size = (short, short) if square else (round(height * scale), round(width * scale))
    if max(size) > 16 * short:
        raise ImageError(f"{str(path)!r} is {width}×{height}; expected sides within 1:16")
    resized = F.interpolate(
        photo, size, mode=kernel.mode, antialias=kernel.antialias, align_corners=False
    )
    return from_uint8(to_uint8(resized[0]))


def random_crops(
    photos: list[Path],
    count: int,
    side: int,
    resize: tuple[int, int],
    generator: Generator,
    *,
    square: bool = False,
) -> Tensor:
    """``count`` crops as N×3×side×side images in [0, 1]; see :func:`random_crop`."""
    crops = [random_crop(photos, side, resize, generator, square=square) for _ in range(count)]
    return torch.stack(crops)


def center_crops(photos: list[Path], side: int) -> Tensor:
    """The centers of all readable ``photos``, short side resized to ``side``: N×3×side×side."""
    crops = []
    for path in photos:
        try:
            photo = read_resized(path, side)
        except ImageError as error:
            _name_once(path, error)
            continue
        top, left = (photo.shape[1] - side) // 2, (photo.shape[2] - side) // 2
        crops.append(photo[:, top : top + side, left : left + side])
    if not crops:
        raise ImageError(f"none of the {len(photos)} held-out photos can be read")
    return torch.stack(crops)


class Prefetch(Generic[T]):
    """``make(0)``, ``make(1)`` and so on, the next few made ahead by threads.

    Threads rather than processes: decoding and resizing release Python's lock, and nothing is
    copied to new processes.

    Args:
        make: A function of the index alone, safe to call from several threads.
        count: Indices below it are made ahead.
        threads: How many threads, 0 to make each value when it is wanted.
    """

    def __init__(self, make: Callable[[int], T], count: int, threads: int) -> None:
        self._make, self._count, self._threads = make, count, threads
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[T]] = {}

    def get(self, index: int) -> T:
        """The value of ``index``; raises what ``make`` raises."""
        if not self._threads:
            return self._make(index)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "nrpurify-prefetch")
        window = range(index, max(min(index + 1 + 2 * self._threads, self._count), index + 1))
        for stale in self._pending.keys() - set(window):
            self._pending.pop(stale).cancel()
        for ahead in window:
            if ahead not in self._pending:
                self._pending[ahead] = self._pool.submit(self._make, ahead)
        return self._pending.pop(index).result()

    def close(self) -> None:
        """Drop what was made ahead; a later :meth:`get` starts again."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._pending = None, {}
