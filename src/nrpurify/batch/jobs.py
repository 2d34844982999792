"""One image file to work on, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from nrpurify.core.errors import NrpurifyError
from nrpurify.core.image_files import LeftOut
from nrpurify.core.manifest import Job
from nrpurify.core.progress import Progress
from nrpurify.core.random import derive_generator


@dataclass(frozen=True)
class Item:
    """What came of a job.

    Attributes:
        job: The job.
        status: ``skipped`` means that its output was there already and has been kept.
        reason: Why it failed, with the file's name.
        change: The attack's ‖δ‖∞ in [0, 1] after rounding to 8 bits.
        parts: Images or frames in the output of a file of many images, else None.
        broken: Reasons why images inside such a file failed.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    change: float | None = None
    parts: int | None = None
    broken: tuple[str, ...] = ()

    @classmethod
    def failed(cls, job: Job, error: Exception) -> Item:
        """A job that ``error`` ended; its first line, with the file's name, becomes the reason."""
        line = (str(error) or type(error).__name__).splitlines()[0]
        named = isinstance(error, NrpurifyError) and job.source.name in line
        return cls(job, "failed", line if named else f"cannot process {str(job.source)!r}: {line}")


@dataclass
class FolderResult:
    """What came of all jobs, in their order.

    Attributes:
        items: One for each image.
        left_out: Entries of the source folders that were not taken.
        where: The folder or the file of the outputs.
        notes: What the user should know of the whole.
    """

    items: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    where: str = ""
    notes: list[str] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many items have this status."""
        return sum(item.status == status for item in self.items)

    @property
    def failures(self) -> list[tuple[Path, str]]:
        """Files that failed and entries that could not be searched, each with its reason."""
        failed = [(item.job.source, item.reason) for item in self.items if item.status == "failed"]
        failed += [(item.job.source, reason) for item in self.items for reason in item.broken]
        return failed + [(left.path, f"cannot read {left}") for left in self.left_out if left.lost]

    @property
    def parts(self) -> int | None:
        """Images and frames inside files of many images, None when there is no such file."""
        counts = [item.parts for item in self.items if item.parts is not None]
        return sum(counts) if counts else None

    @property
    def change(self) -> float | None:
        """The greatest change of all attacked images, None when there is none."""
        return max((item.change for item in self.items if item.change is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: how many files are done and skipped, failed ones, outputs."""
        return {
            "done": self.count("done"),
            "skipped": self.count("skipped"),
            **({} if self.parts is None else {"parts": self.parts}),
            "failed": [{"source": str(path), "reason": reason} for path, reason in self.failures],
            "left_out": [str(left) for left in self.left_out if not left.lost],
            "outputs": [str(item.job.output) for item in self.items if item.status != "failed"],
        }


def collect(
    items: Iterable[Item],
    what: str,
    total: int,
    progress: Progress,
    *,
    left_out: Sequence[LeftOut] = (),
    where: str = "",
) -> FolderResult:
    """Gather items as they come, and count them in ``progress``."""
    result = FolderResult(left_out=list(left_out), where=where)
    for item in items:
        result.items.append(item)
        progress.update(what, len(result.items), total)
    return result


def image_generator(seed: int, relative: Path) -> torch.Generator:
    """A CPU generator that depends on ``seed`` and the file's relative path alone.

    So an image's result depends neither on the other images nor on an interruption. File names
    that are no UTF-8 have generators of their own too.
    """
    return derive_generator(seed, "file", relative.as_posix())
