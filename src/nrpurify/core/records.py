"""``manifest.jsonl``: how the outputs of a folder were made, and which are finished.

JSON lines. A line with ``id`` describes a run: ``settings``, ``versions`` and ``weights_sha256``. A
line with ``output`` describes a file: its path below the folder, ``source`` (the path below the
source folder), ``path`` (the source, relative to the folder), ``source_sha256``, ``sha256`` and
``run``, the id of its run. Attacks add ``linf``, the ‖δ‖∞ in [0, 1] after rounding to 8 bits, and
with unrounded values ``float_sha256`` and ``float_linf``; where gradients led nowhere, ``gradient``
with the counts of :class:`nrpurify.attacks.gradient_log.GradientCount`. Of several lines for one
output the last counts. A line without ``sha256`` stands for an output that was begun, one with
``removed`` for one that another took the place of. An output that may lead out of the folder, on
this system or on another, is refused: outputs are replaced and removed by these lines.

A shard of a run has a file of its own, ``manifest-1-of-4.jsonl``, so that no two machines write
to one file. Readers see all files of a folder as one manifest.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.core.files import atomic_path, read_json
from nrpurify.core.hashing import digest, file_hash

MANIFEST = "manifest.jsonl"
OLD_MANIFEST = "manifest.json"
"""The one JSON document that version 0.1.0 wrote, also in grids and tasks; it is
read, and replaced by the next run."""

Head = dict[str, dict[str, Any]]
PARTS = ("settings", "versions", "weights_sha256")
_SHARD = re.compile(r"manifest-\d+-of-\d+\.jsonl")


@dataclass
class Records:
    """The contents of a manifest.

    Attributes:
        runs: ``settings``, ``versions`` and ``weights_sha256`` by run id.
        files: What is known of each output, by its path below the folder.
        removed: Outputs that were removed, by the same paths.
    """

    runs: dict[str, Head] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

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
        removed = [{"output": output, "removed": True} for output in sorted(self.removed)]
        return "".join(map(_line, [*runs, *files, *removed]))

    def forget_unmade(self, folder: Path) -> None:
        """Drop outputs that were begun and are not there."""
        for output, entry in list(self.files.items()):
            if "sha256" not in entry and not os.path.lexists(folder / output):
                del self.files[output]


def write_records(folder: Path, records: Records, run: str, name: str = MANIFEST) -> None:
    """Write a whole manifest; see :meth:`Records.to_lines`."""
    with atomic_path(folder / name) as temporary:
        temporary.write_text(records.to_lines(run), encoding="utf-8", newline="\n")


def append_lines(folder: Path, lines: Iterable[Mapping[str, Any]], name: str = MANIFEST) -> None:
    """Add lines to a manifest, and wait until they are on disk."""
    with (folder / name).open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(_line(values) for values in lines)
        file.flush()
        os.fsync(file.fileno())


def shard_files(folder: Path) -> list[Path]:
    """The manifests of shards in a folder, those that were written to last at the end."""
    found = [path for path in folder.glob("manifest-*.jsonl") if _SHARD.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def read_records(folder: Path) -> Records | None:
    """Read the manifest of a folder, with those of its shards; None where there is none.

    Raises:
        InputError: It cannot be read.
    """
    found = read_records_file(folder / MANIFEST) or read_old(folder / OLD_MANIFEST)
    for path in shard_files(folder):
        part = read_records_file(path)
        if part is not None:
            found = part if found is None else _merged(folder, found, part)
    return found


def read_records_file(path: Path) -> Records | None:
    """Read one file of a manifest; None where there is none.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return _read_lines(path) if path.exists() else None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(path)!r} is not a manifest of nrpurify ({str(error)[:80]}); move it away or "
            "choose another folder"
        ) from error


def _merged(folder: Path, known: Records, new: Records) -> Records:
    """Both; of one output the newer entry, unless the file is what the older one notes."""
    known.runs.update(new.runs)
    for output, entry in new.files.items():
        older = known.files.get(output)
        if older is None or older == entry or not _still_holds(folder / output, older, entry):
            known.files[output] = entry
        known.removed.discard(output)
    for output in new.removed:
        if not os.path.lexists(folder / output):
            known.files.pop(output, None)
    return known


def _still_holds(path: Path, older: Mapping[str, Any], newer: Mapping[str, Any]) -> bool:
    """Whether a file is what the older of two entries of one run notes, and not the newer."""
    return (
        older["run"] == newer["run"]
        and is_unchanged(path, older.get("sha256"))
        and not is_unchanged(path, newer.get("sha256"))
    )


def leads_out(output: str) -> bool:
    """Whether a path may name something outside of its folder, here or on Windows, or no file.

    A backslash parts folders on Windows and is a letter elsewhere: ``a\\b.png`` stays inside in
    either reading, ``a\\..\\..\\b.png`` leads out in one.
    """
    path = PureWindowsPath(output)  # it knows both kinds of slashes
    return bool(path.anchor) or ".." in path.parts or not path.name or "\0" in output


def check_links(folder: Path, outputs: Iterable[str]) -> None:
    """Refuse outputs in a linked folder: they would be written and removed somewhere else.

    The folder itself may be a link. A link in an output's own place is replaced: a temporary file
    is renamed to the output.

    Args:
        folder: Of the manifest.
        outputs: Paths below it.

    Raises:
        InputError: A folder on the way to an output is a link.
    """
    root = Path(os.path.realpath(folder))
    for below in {Path(output).parent for output in outputs}:
        found = Path(os.path.realpath(folder / below))
        if found != root / below:
            raise InputError(
                f"{str(folder / below)!r} leads by a link to {str(found)!r}; put a folder in the "
                "link's place, or choose another destination"
            )


def _check_output(output: str, where: str) -> None:
    if leads_out(output):
        raise InputError(
            f"{where}: the output {output!r} may lead out of the folder; expected a path below it, "
            "such as 'a/b.png', without drive and '..'; remove that entry, or move the manifest "
            "away"
        )


def _read_lines(path: Path) -> Records:
    records = Records()
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], 1):  # a last line without an end: cut off by a kill
        values = dict(json.loads(line))
        if "id" in values:
            records.runs[str(values["id"])] = {part: dict(values[part]) for part in PARTS}
            continue
        output = str(values.pop("output"))
        _check_output(output, f"{str(path)!r}, line {number}")
        if values.get("removed"):
            records.files.pop(output, None)
            records.removed.add(output)
        else:
            records.files[output] = values
            records.removed.discard(output)
    for entry in records.files.values():
        records.runs[entry["run"]]
    return records


def read_old(path: Path) -> Records | None:
    """Read the manifest of version 0.1.0; None where there is none.

    Raises:
        InputError: An output may lead out of the folder.
    """
    try:
        found = read_json(path)
        head = _cache_head(found) if "head" in found else {p: dict(found[p]) for p in PARTS}
        files = {str(name): dict(entry) for name, entry in found["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, or of another program
    for name in files:
        _check_output(name, repr(str(path)))
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


def is_unchanged(path: Path, sha256: str | None) -> bool:
    """Whether a file has the contents that a manifest notes."""
    return sha256 is not None and path.is_file() and file_hash(path) == sha256
