"""``manifest.json``: how the attacked images of a folder were made, and which are finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.errors import InputError
from nrpurify.files import read_json, write_json
from nrpurify.floats import float_path
from nrpurify.folders.jobs import Job
from nrpurify.weights import file_hash

MANIFEST = "manifest.json"
_HEAD = ("settings", "versions", "weights_sha256")


@dataclass
class Manifest:
    """The manifest of one folder.

    Attributes:
        folder: Where it lies, beside or above the images.
        head: ``settings``, ``versions`` and ``weights_sha256``, as plain values.
        files: By output, relative to the folder: ``source`` (relative), ``source_sha256``,
            ``sha256`` of the output, and ``linf``: its ‖δ‖∞ in [0, 1] after rounding to 8 bits;
            with ``floats`` also ``float_sha256`` and ``float_linf`` of the unrounded values.
        floats: Whether each output has its unrounded values beside it.
    """

    folder: Path
    head: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    floats: bool = False

    @classmethod
    def enter(
        cls,
        folder: Path,
        head: dict[str, dict[str, Any]],
        jobs: Sequence[Job],
        *,
        overwrite: bool,
        floats: bool = False,
    ) -> Manifest:
        """Go on with the manifest in ``folder`` or begin one; it is on disk afterwards.

        Raises:
            InputError: Without ``overwrite``: the images there were made otherwise, there are
                outputs without a manifest, or the manifest cannot be read.
        """
        manifest = cls(folder, json.loads(json.dumps(head)), floats=floats)
        if not overwrite:
            if manifest.path.exists():
                manifest.files = manifest._read()
            else:
                _check_unused(folder, jobs)
        manifest.save()
        return manifest

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self.folder / MANIFEST

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = read_json(self.path)
            before = {part: dict(found[part]) for part in _HEAD}
            files = {str(name): dict(entry) for name, entry in found["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{str(self.path)!r} is no manifest of an attack; use --overwrite to replace it "
                "or choose another folder"
            ) from error
        if changes := _changes(before, self.head):
            raise InputError(
                f"the images in {str(self.folder)!r} were made with other settings: "
                f"{'; '.join(changes)}; use --overwrite to replace them or choose another folder"
            )
        return files

    def holds(self, job: Job) -> bool:
        """Whether the job's output is finished: made from this source, whole and unchanged."""
        entry = self.files.get(self._key(job))
        return (
            entry is not None
            and _is(job.output, entry.get("sha256"))
            and _is(job.source, entry.get("source_sha256"))
            and (not self.floats or _is(float_path(job.output), entry.get("float_sha256")))
        )

    def record(self, job: Job, linf: float, float_linf: float) -> None:
        """Note a finished output; :meth:`save` makes it last."""
        entry = {
            "source": job.relative.as_posix(),
            "source_sha256": file_hash(job.source),
            "sha256": file_hash(job.output),
            "linf": linf,
        }
        if self.floats:
            entry["float_sha256"] = file_hash(float_path(job.output))
            entry["float_linf"] = float_linf
        self.files[self._key(job)] = entry

    def save(self) -> None:
        """Write it, whole or not at all."""
        write_json(self.path, {**self.head, "files": dict(sorted(self.files.items()))})

    def _key(self, job: Job) -> str:
        return job.output.relative_to(self.folder).as_posix()


def _is(path: Path, sha256: str | None) -> bool:
    return path.is_file() and file_hash(path) == sha256


def _changes(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name} was {before[part].get(name)!r}, is {now[part].get(name)!r}"
        for part in _HEAD
        for name in sorted(before[part].keys() | now[part].keys())
        if before[part].get(name) != now[part].get(name)
    ]


def _check_unused(folder: Path, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.output.exists():
            raise InputError(
                f"{str(job.output)!r} is there already and no {MANIFEST} in {str(folder)!r} tells "
                "how it was made; use --overwrite to replace it or choose another folder"
            )
