"""Hashes: of plain values, tensors, images and files, and file names made of parts.

Hashes of files are kept in the cache for as long as a file does not change. Nothing here imports
torch until a tensor is hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

    from torch import Tensor

FILE = "hashes.sqlite3"
_FRESH = 2 * 10**9
_BLOCK = 500


def slug(*parts: object) -> str:
    """Parts as one file name: letters, digits, points and dashes."""
    text = "-".join(str(part) for part in parts if part not in ("", None))
    kept = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in text)
    return "-".join(filter(None, kept.split("-"))).strip(".")[:80]


def digest(values: object) -> str:
    """sha256 of plain values."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of ``tensors``, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def pixels_hash(image: Tensor) -> str:
    """sha256 of an image 3×H×W (or N×3×H×W) in [0, 1], rounded to 8 bits."""
    from nrpurify.core.images import to_uint8

    levels = to_uint8(image).cpu().contiguous()
    return hashlib.sha256(repr(levels.shape[-2:]).encode() + levels.numpy().tobytes()).hexdigest()


def cache_dir() -> Path:
    """Return the folder of converted weights; it may not exist yet.

    ``$NRPURIFY_CACHE`` if set, else ``nrpurify`` in ``$XDG_CACHE_HOME`` or in ``~/.cache``.
    """
    if own := os.environ.get("NRPURIFY_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nrpurify"


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of each file; see :func:`cached_hashes`.

    Raises:
        OSError: a file cannot be read.
    """
    found: list[str] = []
    for start in range(0, len(paths), _BLOCK):
        found += cached_hashes(paths[start : start + _BLOCK], "content", file_hash)
    return found


def cached_hashes(paths: Sequence[Path], kind: str, compute: Callable[[Path], str]) -> list[str]:
    """Return a hash of each file, computed only where the file is new or changed.

    A file counts as unchanged when size, times of modification and of change, and inode are those
    of the last time. Files changed within the last two seconds are not remembered: some file
    systems count no finer. Without a cache that can be written, all are computed.

    Args:
        paths: The files.
        kind: What is computed.
        compute: Gives the hash of a file.

    Raises:
        OSError: a file cannot be read.
    """
    keys = [(os.fsencode(path.absolute()), kind) for path in paths]
    stamps = [_stamp(path) for path in paths]
    with _memory() as memory:
        known = [_look_up(memory, key, stamp) for key, stamp in zip(keys, stamps, strict=True)]
        pairs = zip(paths, known, strict=True)
        hashes = [compute(path) if old is None else old for path, old in pairs]
        recent = time.time_ns() - _FRESH
        new = [
            (*key, stamp, value)
            for key, stamp, value, old, path in zip(keys, stamps, hashes, known, paths, strict=True)
            if old is None and _changed(path) < recent and _stamp(path) == stamp
        ]
        _remember(memory, new)
    return hashes


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _changed(path: Path) -> int:
    stat = path.stat()
    return max(stat.st_mtime_ns, stat.st_ctime_ns)


@contextmanager
def _memory() -> Iterator[Connection | None]:
    """The table of hashes; None where there can be none."""
    memory = None
    with suppress(ImportError, OSError):
        import sqlite3

        folder = cache_dir()
        with suppress(sqlite3.Error):
            folder.mkdir(parents=True, exist_ok=True)
            memory = sqlite3.connect(folder / FILE, isolation_level=None)
            memory.execute(
                "CREATE TABLE IF NOT EXISTS hashes "
                "(path BLOB, kind TEXT, stamp TEXT, hash TEXT, PRIMARY KEY (path, kind))"
            )
    if memory is None:
        yield None
        return
    with closing(memory):
        yield memory


def _look_up(memory: Connection | None, key: tuple[bytes, str], stamp: str) -> str | None:
    if memory is None:
        return None
    import sqlite3

    question = "SELECT hash FROM hashes WHERE path = ? AND kind = ? AND stamp = ?"
    try:
        row = memory.execute(question, (*key, stamp)).fetchone()
    except sqlite3.Error:  # damaged, or locked
        return None
    return None if row is None else str(row[0])


def _remember(memory: Connection | None, rows: Sequence[tuple[bytes, str, str, str]]) -> None:
    if memory is None or not rows:
        return
    import sqlite3

    with suppress(sqlite3.Error):
        memory.execute("BEGIN")
        memory.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)
        memory.execute("COMMIT")
