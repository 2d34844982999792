"""Which file becomes which, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from nrpurify.errors import InputError, NrpurifyError
from nrpurify.files import ImageFile, find_images, output_paths


@dataclass(frozen=True)
class Job:
    """One image to work on.

    Attributes:
        source: The file to read.
        relative: Its place below the source folder.
        output: The PNG to write.
    """

    source: Path
    relative: Path
    output: Path


@dataclass(frozen=True)
class Item:
    """What came of a job.

    Attributes:
        job: The job.
        status: ``skipped`` means that its output was there already and has been kept.
        reason: Why it failed, with the file's name.
        change: The attack's ‖δ‖∞ in [0, 1] after rounding to 8 bits.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    change: float | None = None

    @classmethod
    def failed(cls, job: Job, error: Exception) -> Item:
        """A job that ``error`` ended; its first line becomes the reason."""
        line = (str(error) or type(error).__name__).splitlines()[0]
        named = isinstance(error, NrpurifyError)
        return cls(job, "failed", line if named else f"cannot process {str(job.source)!r}: {line}")


@dataclass
class FolderResult:
    """What came of all jobs, in their order."""

    items: list[Item] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many items have this status."""
        return sum(item.status == status for item in self.items)

    @property
    def failures(self) -> list[Item]:
        """The items that failed."""
        return [item for item in self.items if item.status == "failed"]

    @property
    def change(self) -> float | None:
        """The greatest change of all attacked images, None when there is none."""
        return max((item.change for item in self.items if item.change is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers of files done and skipped, and the failed ones."""
        failed = [{"source": str(i.job.source), "reason": i.reason} for i in self.failures]
        return {"done": self.count("done"), "skipped": self.count("skipped"), "failed": failed}


Watch = Callable[[Item, int], None]
"""Called after each job with what came of it and the number of all jobs."""


def collect(items: Iterable[Item], total: int, watch: Watch | None) -> FolderResult:
    """Gather items as they come, showing each to ``watch``."""
    result = FolderResult()
    for item in items:
        result.items.append(item)
        if watch is not None:
            watch(item, total)
    return result


def plan_jobs(
    source: str | Path, dst: str | Path, *, recursive: bool, single: bool = False
) -> list[Job]:
    """List what to read and where to write, without touching anything.

    Args:
        source: An image, a folder or a glob, see :func:`nrpurify.files.find_images`.
        dst: The folder of the outputs; when it lies inside the source, what it holds is left out.
        recursive: Look into sub-folders, whose structure is kept.
        single: Let ``dst`` name the output itself when ``source`` is one file and ``dst`` ends in
            ``.png``.

    Raises:
        InputError: No image found, ``dst`` cannot be a folder, or an output would replace a source.
    """
    dst = Path(dst)
    found = [f for f in find_images(source, recursive=recursive) if not _is_output(f, dst)]
    if not found:
        raise InputError(f"{str(source)!r} holds no image but those in {str(dst)!r}")
    if Path(source).is_file() and dst.suffix.lower() == ".png" and not dst.is_dir():
        outputs = [_single_output(dst, single)]
    elif dst.is_file():
        raise InputError(f"{str(dst)!r} is a file; expected a folder for the outputs")
    else:
        outputs = output_paths(dst, [file.relative for file in found])
    jobs = [Job(f.path, f.relative, out) for f, out in zip(found, outputs, strict=True)]
    _check_sources_survive(jobs)
    return jobs


def _single_output(dst: Path, single: bool) -> Path:
    if not single:
        raise InputError(f"{str(dst)!r} names a file; expected a folder: a manifest goes with it")
    return dst


def _is_output(file: ImageFile, dst: Path) -> bool:
    """Whether ``dst`` is a folder inside the source and ``file`` lies in it."""
    base, dst = file.path.parents[len(file.relative.parts) - 1].resolve(), dst.resolve()
    return base in dst.parents and dst in (base / file.relative).parents


def _check_sources_survive(jobs: list[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.output.resolve() in sources:
            raise InputError(
                f"{str(job.output)!r} would replace a source image; choose another folder"
            )


def image_generator(seed: int, relative: Path) -> torch.Generator:
    """A CPU generator that depends on ``seed`` and the file's relative path alone.

    So an image's result depends neither on the other images nor on an interruption. File names
    that are no UTF-8 have generators of their own too.
    """
    named = f"{seed}:{relative.as_posix()}".encode(errors="surrogatepass")
    digest = hashlib.sha256(named).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
