"""``manifest.jsonl``: how the outputs of a folder were made, and which are finished.

JSON lines. A line with ``id`` describes a run: ``settings``, ``versions`` and ``weights_sha256``. A
line with ``output`` describes a file: its path below the folder, ``source`` (the path below the
source folder), ``path`` (the source, relative to the folder), ``source_sha256``, ``sha256`` and
``run``, the id of its run. Attacks add ``linf``, the ‖δ‖∞ in [0, 1] after rounding to 8 bits, and
with unrounded values ``float_sha256`` and ``float_linf``; where gradients led nowhere, ``gradient``
with the counts of :class:`nrpurify.attacks.gradient_log.GradientCount`. Of several lines for one
output the last counts. A line without ``sha256`` stands for an output that was begun, one with
``removed`` for one that another took the place of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import atomic_path, read_json
from nrpurify.core.hashing import digest, file_hash
from nrpurify.core.image_tensors import image_tensor_path
from nrpurify.core.lock import folder_locked_at_once
from nrpurify.core.versions import versions

MANIFEST = "manifest.jsonl"
OLD_MANIFEST = "manifest.json"
"""The one JSON document that version 0.1.0 wrote, also in grids and tasks; it is
read, and replaced by the next run."""

Head = dict[str, dict[str, Any]]
_PARTS = ("settings", "versions", "weights_sha256")


def make_head(settings: Mapping[str, Any], weights_sha256: Mapping[str, str] | None = None) -> Head:
    """A run's description for the manifest, with the versions of this package and of torch."""
    return {
        "settings": dict(settings),
        "versions": {name: text for name, text in versions().items() if name != "python"},
        "weights_sha256": dict(weights_sha256 or {}),
    }


@dataclass(frozen=True)
class Job:
    """One image to work on.

    Attributes:
        source: The file to read.
        relative: Its place below the source folder.
        output: The image file to write.
    """

    source: Path
    relative: Path
    output: Path

    def check_output(self) -> None:
        """Raise ImageError when the output cannot be written because a folder is there."""
        if self.output.is_dir():
            raise ImageError(f"cannot write {str(self.output)!r}: a folder of that name is there")


@dataclass
class Records:
    """The contents of a manifest.

    Attributes:
        runs: ``settings``, ``versions`` and ``weights_sha256`` by run id.
        files: What is known of each output, by its path below the folder.
    """

    runs: dict[str, Head] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def head(self) -> Head:
        """Settings, versions and weights of the one run that made all files.

        Raises:
            InputError: Several runs with different settings made them, or none.
        """
        used = {entry["run"] for entry in self.files.values()} or set(self.runs)
        if len(used) != 1:
            raise InputError(f"{len(used)} runs with different settings made the files; expected 1")
        return self.runs[used.pop()]

    def to_lines(self, run: str) -> str:
        """The text of a manifest: ``run`` and others in use first, then files by name."""
        used = {run, *(entry["run"] for entry in self.files.values())}
        runs = [{"id": name, **head} for name, head in self.runs.items() if name in used]
        files = [{"output": output, **self.files[output]} for output in sorted(self.files)]
        return "".join(map(_line, [*runs, *files]))


def write_records(folder: Path, records: Records, run: str) -> None:
    """Write a whole manifest; see :meth:`Records.to_lines`."""
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(records.to_lines(run), encoding="utf-8", newline="\n")


def append_lines(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a manifest, and wait until they are on disk."""
    with (folder / MANIFEST).open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(_line(values) for values in lines)
        file.flush()
        os.fsync(file.fileno())


def read_records(folder: Path) -> Records | None:
    """Read the manifest of a folder; None where there is none.

    Raises:
        InputError: It cannot be read.
    """
    path = folder / MANIFEST
    try:
        if path.exists():
            return _read_lines(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(path)!r} is not a manifest of nrpurify ({str(error)[:80]}); move it away or "
            "choose another folder"
        ) from error
    return _read_old(folder / OLD_MANIFEST)


def _read_lines(text: str) -> Records:
    records = Records()
    for line in text.split("\n")[:-1]:  # a last line without an end was cut off by a kill
        values = dict(json.loads(line))
        if "id" in values:
            records.runs[str(values["id"])] = {part: dict(values[part]) for part in _PARTS}
        elif values.get("removed"):
            records.files.pop(str(values["output"]), None)
        else:
            records.files[str(values.pop("output"))] = values
    for entry in records.files.values():
        records.runs[entry["run"]]
    return records


def _read_old(path: Path) -> Records | None:
    try:
        found = read_json(path)
        head = _cache_head(found) if "head" in found else {p: dict(found[p]) for p in _PARTS}
        files = {str(name): dict(entry) for name, entry in found["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, or of another program
    run = head_id(head)
    return Records({run: head}, {name: {**entry, "run": run} for name, entry in files.items()})


def _cache_head(found: Mapping[str, Any]) -> Head:
    """The head of attacked images that a grid or a task of version 0.1.0 kept."""
    head = dict(found["head"])
    known = {name: head.pop(name, {}) for name in ("versions", "weights_sha256")}
    settings = {**head, **head.pop("settings", {})}
    settings.setdefault("attack", settings.get("name"))
    return {"settings": settings, **{name: dict(value) for name, value in known.items()}}


def head_id(head: Head) -> str:
    """The id of a run: runs with one head share it."""
    return digest(head)[:12]


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n"


@dataclass
class Manifest:
    """The manifest of one folder, as one run sees it.

    Attributes:
        folder: The folder, beside or above the outputs; None keeps no manifest.
        head: ``settings``, ``versions`` and ``weights_sha256`` of this run, as plain values.
        records: Its contents.
        floats: Whether each output has its unrounded values beside it.
    """

    folder: Path | None
    head: Head
    records: Records = field(default_factory=Records)
    floats: bool = False

    @classmethod
    def enter(
        cls,
        folder: Path | None,
        head: Head,
        jobs: Sequence[Job],
        *,
        overwrite: bool,
        floats: bool = False,
    ) -> Manifest:
        """Continue the manifest in ``folder`` or begin one; it is on disk afterwards.

        Args:
            folder: None for one file without a manifest.
            head: See :class:`Manifest`.
            jobs: What will be written.
            overwrite: Make outputs again that other settings or other sources made.
            floats: See :class:`Manifest`.

        Raises:
            InputError: An output is there and no manifest lists it, or the manifest cannot be read
                or written. Without ``overwrite``: other settings or other sources made the
                outputs.
        """
        manifest = cls(folder, json.loads(json.dumps(head)), floats=floats)
        if folder is not None:
            manifest.records = read_records(folder) or Records()
        manifest._check_unlisted(jobs)
        if folder is None:
            return manifest
        if not overwrite:
            manifest._check_settings()
            manifest._check_sources(jobs)
        for job in jobs if overwrite else ():
            manifest._reset(job)
        try:
            manifest._write()
            if _read_old(folder / OLD_MANIFEST):
                (folder / OLD_MANIFEST).unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error
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

    def begin(self, job: Job) -> None:
        """Note an output just before it is written, so that a kill leaves no unlisted file."""
        entry = {**self._of(job), "source_sha256": file_hash(job.source)}
        if self.floats:
            entry["float_sha256"] = None
        self._append(job, entry)

    def record(
        self,
        job: Job,
        *,
        linf: float | None = None,
        float_linf: float = 0.0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Note a finished output, with further ``facts`` as plain values."""
        entry = self.records.files[self._key(job)] | {"sha256": file_hash(job.output)}
        if linf is not None:
            entry["linf"] = linf
        if self.floats:
            entry["float_sha256"] = file_hash(image_tensor_path(job.output))
            entry["float_linf"] = float_linf
        self._append(job, {**entry, **(facts or {})})
        self._remove_replaced(job)

    def facts(self, job: Job) -> dict[str, Any]:
        """What is noted of a job's output."""
        return self.records.files.get(self._key(job), {})

    def finish(self) -> None:
        """Write the manifest with one line for each output."""
        if self.folder is not None:
            self.records = read_records(self.folder) or self.records
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
        for output, entry in list(self.records.files.items()):
            same = all(entry.get(name) == self._of(job)[name] for name in ("source", "path"))
            if self.folder is not None and same and entry["run"] != self.run:
                if is_unchanged(
                    self.folder / output, entry.get("sha256")
                ):  # unless the user changed it
                    (self.folder / output).unlink()
                del self.records.files[output]
                self._append_line({"output": output, "removed": True})

    def _append(self, job: Job, entry: dict[str, Any]) -> None:
        self.records.files[self._key(job)] = entry
        self._append_line({"output": self._key(job), **entry})

    def _append_line(self, values: dict[str, Any]) -> None:
        if self.folder is not None:
            append_lines(self.folder, [values])

    def _reset(self, job: Job) -> None:
        if self._key(job) in self.records.files:
            self.records.files[self._key(job)] = self._of(job)

    def _write(self) -> None:
        if self.folder is None:
            return
        for output, entry in list(self.records.files.items()):
            if "sha256" not in entry and not os.path.lexists(self.folder / output):
                del self.records.files[output]
        self.records.runs[self.run] = self.head
        write_records(self.folder, self.records, self.run)

    def _check_unlisted(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            entry = self.records.files.get(self._key(job))
            taken = [] if entry is not None else [job.output]
            if self.floats and (entry is None or "float_sha256" not in entry):
                taken.append(image_tensor_path(job.output))
            for path in taken:
                if os.path.lexists(path) and not path.is_dir():
                    raise InputError(
                        f"{str(path)!r} is there already and no manifest of nrpurify lists it, so "
                        "not even --overwrite replaces it (purify of version 0.1.0 wrote none); "
                        "move it away or choose another destination"
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
            if before in (None, path) or is_unchanged(job.source, entry.get("source_sha256")):
                continue
            raise InputError(
                f"{str(job.output)!r} was made from {before!r} (relative to its folder), and "
                f"{str(job.source)!r} would replace it; use --overwrite to replace it or choose "
                "another folder"
            )


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Make a folder of outputs, and keep other runs out of it during the block.

    Args:
        folder: None for one file without a manifest; it needs no such care.

    Raises:
        InputError: Another run writes there, or the folder cannot be made or opened.
    """
    if folder is None:
        yield
        return
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            got = stack.enter_context(folder_locked_at_once(folder))
        except OSError as error:
            raise _unwritable(folder, error) from error
        if not got:
            raise InputError(
                f"another run of nrpurify writes to {str(folder)!r}; wait for its end or choose "
                "another folder (one command takes several sources)"
            )
        yield


def _unwritable(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write a manifest in {str(folder)!r}: {reason}; choose another folder"
    )


def is_unchanged(path: Path, sha256: str | None) -> bool:
    """Whether a file has the contents that a manifest notes."""
    return sha256 is not None and path.is_file() and file_hash(path) == sha256


def _changes(before: Head, now: Head) -> list[str]:
    changes = [
        f"{name} was {before[part].get(name)!r}, is {now[part].get(name)!r}"
        for part in _PARTS
        for name in sorted(before[part].keys() | now[part].keys())
        if before[part].get(name) != now[part].get(name)
    ]
    return changes[:5] + [f"{len(changes) - 5} more"] * (len(changes) > 5)
