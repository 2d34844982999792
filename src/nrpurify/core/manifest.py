"""The manifest of a folder as one run sees it; :mod:`nrpurify.core.records` describes its lines."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.hashing import file_hash
from nrpurify.core.image_files import CONTAINERS, image_tensor_path
from nrpurify.core.lock import unwritable
from nrpurify.core.records import (
    MANIFEST,
    OLD_MANIFEST,
    PARTS,
    Head,
    Records,
    append_lines,
    check_links,
    head_id,
    is_unchanged,
    read_old,
    read_records,
    read_records_file,
    shard_files,
    write_records,
)
from nrpurify.core.versions import versions

REPLACE_FILE = "; use --overwrite (in Python: overwrite=True) to replace it, or choose another name"
"""Ends the error about a destination that is one file and is there."""


def make_head(
    settings: Mapping[str, Any],
    weights_sha256: Mapping[str, str] | None = None,
    *,
    made_with: Mapping[str, str] | None = None,
) -> Head:
    """A run's description for the manifest, with the versions of this package and of torch.

    Args:
        settings: All that decides the images.
        weights_sha256: Hashes of weights by name.
        made_with: Versions, plug-ins in use among them; None for all that are loaded.
    """
    found = versions() if made_with is None else made_with
    return {
        "settings": dict(settings),
        "versions": {name: text for name, text in found.items() if name != "python"},
        "weights_sha256": dict(weights_sha256 or {}),
    }


@dataclass(frozen=True)
class Job:
    """One file to work on: an image, or one of many images.

    Attributes:
        source: The file to read.
        relative: Its place below the source folder.
        output: The file to write.
    """

    source: Path
    relative: Path
    output: Path

    @property
    def is_container(self) -> bool:
        """Whether the source holds many images."""
        return self.source.suffix.lower() in CONTAINERS

    def check_output(self) -> None:
        """Raise ImageError when the output cannot be written because a folder is there."""
        if self.output.is_dir():
            raise ImageError(f"cannot write {str(self.output)!r}: a folder of that name is there")


@dataclass
class Manifest:
    """The manifest of one folder, as one run sees it.

    Attributes:
        folder: The folder, beside or above the outputs; None keeps no manifest.
        head: ``settings``, ``versions`` and ``weights_sha256`` of this run, as plain values.
        records: Its contents.
        floats: Whether each output has its unrounded values beside it.
        name: The file that this run writes: that of all, or of its shard.
    """

    folder: Path | None
    head: Head
    records: Records = field(default_factory=Records)
    floats: bool = False
    name: str = MANIFEST
    _others: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def enter(
        cls,
        folder: Path | None,
        head: Head,
        jobs: Sequence[Job],
        *,
        overwrite: bool,
        floats: bool = False,
        name: str = MANIFEST,
    ) -> Manifest:
        """Continue the manifest in ``folder`` or begin one; it is on disk afterwards.

        Args:
            folder: None for one file without a manifest.
            head: See :class:`Manifest`.
            jobs: What will be written.
            overwrite: Make outputs again that other settings or other sources made.
            floats: See :class:`Manifest`.
            name: See there. A shard writes its own file only; a whole run takes those of shards
                into its own.

        Raises:
            InputError: An output is there and no manifest lists it, an output's folder is a link,
                or the manifest cannot be read or written. Without ``overwrite``: other settings or
                other sources made the outputs, or the one file is there.
        """
        manifest = cls(folder, json.loads(json.dumps(head)), floats=floats, name=name)
        if folder is None:
            manifest._check_unlisted(() if overwrite else jobs)
            return manifest
        manifest.records = read_records(folder) or Records()
        check_links(folder, [*manifest.records.files, *map(manifest._key, jobs)])
        manifest._check_unlisted(jobs)
        if not overwrite:
            manifest._check_settings()
            manifest._check_sources(jobs)
        for job in jobs if overwrite else ():
            manifest._reset(job)
        for output, entry in manifest.records.files.items():
            if entry["run"] != manifest.run:
                manifest._others[_origin(entry)].add(output)
        try:
            manifest._write(jobs if overwrite else ())
        except OSError as error:
            raise unwritable(folder, error) from error
        return manifest

    @property
    def run(self) -> str:
        """The id of this run: runs with one head share it."""
        return head_id(self.head)

    def holds(self, job: Job) -> bool:
        """Whether the job's output is finished: made from this source, whole and unchanged."""
        entry = self.records.files.get(self._key(job))
        return (
            entry is not None
            and entry["run"] == self.run
            and is_unchanged(job.output, entry.get("sha256"))
            and is_unchanged(job.source, entry.get("source_sha256"))
            and (
                not self.floats
                or is_unchanged(image_tensor_path(job.output), entry.get("float_sha256"))
            )
        )

    def begin(self, *jobs: Job) -> None:
        """Note outputs just before they are written, so that a kill leaves no unlisted file."""
        unrounded = {"float_sha256": None} if self.floats else {}
        self._append([(job, {**self._of(job), **unrounded}) for job in jobs])

    def record(
        self,
        job: Job,
        *,
        linf: float | None = None,
        float_linf: float = 0.0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Note a finished output, with further ``facts`` as plain values."""
        entry: dict[str, Any] = {
            "source_sha256": file_hash(job.source),
            "sha256": file_hash(job.output),
        }
        if linf is not None:
            entry["linf"] = linf
        if self.floats:
            entry["float_sha256"] = file_hash(image_tensor_path(job.output))
            entry["float_linf"] = float_linf
        self.record_all([(job, {**entry, **(facts or {})})])

    def record_all(self, finished: Iterable[tuple[Job, Mapping[str, Any]]]) -> None:
        """Note finished outputs with their hashes, ``source_sha256`` and ``sha256``, and facts."""
        entries = [(job, {**self._of(job), **facts}) for job, facts in finished]
        self._append(entries)
        for job, _ in entries:
            self._remove_replaced(job)

    def facts(self, job: Job) -> dict[str, Any]:
        """What is noted of a job's output."""
        return self.records.files.get(self._key(job), {})

    def finish(self) -> None:
        """Write the manifest with one line for each output."""
        self._write()

    def _key(self, job: Job) -> str:
        return job.output.relative_to(self.folder or job.output.parent).as_posix()

    def _of(self, job: Job) -> dict[str, Any]:
        return {"source": job.relative.as_posix(), "path": self._path(job), "run": self.run}

    def _path(self, job: Job) -> str:
        source = os.path.realpath(job.source)
        try:
            return Path(os.path.relpath(source, os.path.realpath(self.folder or "."))).as_posix()
        except ValueError:  # on another drive
            return Path(source).as_posix()

    def _remove_replaced(self, job: Job) -> None:
        """Remove what other settings made of the same source under another name or suffix."""
        if self.folder is None:
            return
        for output in self._others.pop(_origin(self._of(job)), ()):
            entry = self.records.files[output]
            if entry["run"] == self.run:
                continue
            if is_unchanged(self.folder / output, entry.get("sha256")):  # not changed by the user
                (self.folder / output).unlink()
            del self.records.files[output]
            append_lines(self.folder, [{"output": output, "removed": True}], self.name)

    def _append(self, entries: Sequence[tuple[Job, dict[str, Any]]]) -> None:
        lines = [(self._key(job), entry) for job, entry in entries]
        self.records.files.update(lines)
        if self.folder is None or not lines:
            return
        try:
            append_lines(self.folder, ({"output": key, **entry} for key, entry in lines), self.name)
        except OSError as error:  # such as a full disk
            raise unwritable(self.folder, error) from error

    def _reset(self, job: Job) -> None:
        if self._key(job) in self.records.files:
            self.records.files[self._key(job)] = self._of(job)

    def _write(self, again: Sequence[Job] = ()) -> None:
        """Write this run's file whole; jobs to make ``again`` stand in it as begun."""
        if self.folder is None:
            return
        if self.name == MANIFEST:
            self._absorb()
            return
        own = read_records_file(self.folder / self.name) or Records()
        listed = [key for job in again if (key := self._key(job)) in self.records.files]
        own.files.update((key, self.records.files[key]) for key in listed)
        own.forget_unmade(self.folder)
        own.runs.update(self.records.runs)
        own.runs[self.run] = self.head
        write_records(self.folder, own, self.run, self.name)

    def _absorb(self) -> None:
        """Write one file in place of all, those of shards and of version 0.1.0 too."""
        assert self.folder is not None
        shards = shard_files(self.folder)
        self.records.forget_unmade(self.folder)
        self.records.removed.clear()
        self.records.runs[self.run] = self.head
        write_records(self.folder, self.records, self.run)
        for path in shards:
            path.unlink()
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
        if read_old(self.folder / OLD_MANIFEST):
            (self.folder / OLD_MANIFEST).unlink()

    def _check_unlisted(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            entry = self.records.files.get(self._key(job))
            taken = [] if entry is not None else [job.output]
            if self.floats and (entry is None or "float_sha256" not in entry):
                taken.append(image_tensor_path(job.output))
            for path in taken:
                if os.path.lexists(path) and not path.is_dir():
                    raise InputError(f"{str(path)!r} is there already{self._way_out}")

    @property
    def _way_out(self) -> str:
        if self.folder is None:
            return REPLACE_FILE
        return (
            " and no manifest of nrpurify lists it, so not even --overwrite replaces it (purify of "
            "version 0.1.0 wrote none); move it away or choose another destination"
        )

    def _check_settings(self) -> None:
        for run in {entry["run"] for entry in self.records.files.values()} - {self.run}:
            changes = "; ".join(_changes(self.records.runs[run], self.head))
            raise InputError(
                f"the images in {str(self.folder)!r} were made with other settings: {changes}; "
                "use --overwrite to replace them or choose another folder"
            )

    def _check_sources(self, jobs: Sequence[Job]) -> None:
        """Refuse sources of equal names from another place, unless their contents are equal."""
        for job in jobs:
            entry = self.records.files.get(self._key(job), {})
            before, path = entry.get("path"), self._path(job)
            if before in (None, path) or not os.path.lexists(job.output):
                continue
            if is_unchanged(job.source, entry.get("source_sha256")):
                continue
            raise InputError(
                f"{str(job.output)!r} was made from {before!r} (relative to its folder), and "
                f"{str(job.source)!r} would replace it; use --overwrite to replace it or choose "
                "another folder"
            )


def _origin(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry.get("source")), str(entry.get("path"))


def _changes(before: Head, now: Head) -> list[str]:
    changes = [
        f"{name} was {_shown(before[part].get(name))}, is {_shown(now[part].get(name))}"
        for part in PARTS
        for name in sorted(before[part].keys() | now[part].keys())
        if before[part].get(name) != now[part].get(name)
    ]
    return changes[:5] + [f"{len(changes) - 5} more"] * (len(changes) > 5)


def _shown(value: object) -> str:
    """A setting's value; ``8/255`` for 0.0313…, as budgets and steps are written."""
    levels = value * 255 if isinstance(value, float) and 0 < value < 1 else 0
    return f"{levels:g}/255" if levels and math.isclose(levels, round(levels)) else repr(value)
