"""The class that an attack leads an image away from, or toward, out of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.core.manifest import Job
from nrpurify.data.labels import read_labels_csv, read_targets_csv


@dataclass(frozen=True)
class Classes:
    """A table of labels or targets.

    Attributes:
        path: The CSV file.
        by_image: Class from 0 by image id: the file name without folder and suffix.
        targeted: Whether these are targets.
    """

    path: Path
    by_image: Mapping[str, int]
    targeted: bool

    @classmethod
    def read(cls, labels: Path | None, targets: Path | None) -> Classes | None:
        """Read the targets if given, else the labels; None without either.

        Raises:
            InputError: The table cannot be used, see :mod:`nrpurify.data.labels`.
        """
        if targets is not None:
            return cls(targets, read_targets_csv(targets), True)
        return None if labels is None else cls(labels, read_labels_csv(labels), False)

    @property
    def kind(self) -> str:
        """What the table holds."""
        return "target" if self.targeted else "label"

    def of(self, job: Job) -> int:
        """The class of a job's image.

        Raises:
            InputError: The table has none.
        """
        name = job.source.stem
        if name not in self.by_image:
            raise InputError(
                f"{str(job.source)!r} has no {self.kind} in {str(self.path)!r}; add a line for "
                f"{name!r}"
            )
        return self.by_image[name]

    def check_range(self, known: int) -> None:
        """Raise InputError when the table has a class that a surrogate of ``known`` lacks."""
        for name, value in self.by_image.items():
            if value >= known:
                raise InputError(
                    f"{str(self.path)!r} gives {name!r} the class {value} (from 0); the surrogate "
                    f"has classes 0 to {known - 1}"
                )

    def check_jobs(self, jobs: Sequence[Job]) -> None:
        """Raise InputError when none of the images is in the table."""
        if not any(job.source.stem in self.by_image for job in jobs):
            raise InputError(
                f"none of the {len(jobs)} images has a {self.kind} in {str(self.path)!r}; ids such "
                f"as {next(iter(self.by_image))!r} must be file names without suffix"
            )
