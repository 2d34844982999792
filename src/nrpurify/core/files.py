"""Files that are never half there: written under a temporary name, which killed processes leave."""

import hashlib
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from nrpurify.core.errors import InputError

_NAME = re.compile(r"\.nrpurify-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}(\..*)?")
_DAY = 24 * 60 * 60

_swept: set[Path] = set()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block succeeds.

    Parent folders are created. When the block raises, the temporary file is removed and a file
    that was at `path` before is untouched. The suffix is kept, for writers that look at it.

    Raises:
        OSError: the folder cannot be created, the block wrote no file, or the disk is full; it
            names `path`.

    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(path.parent)
    temporary = path.with_name(temporary_name(path.suffix))
    mode = _ordinary_mode(temporary)
    try:
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # a full disk names none
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _ordinary_mode(path: Path) -> int:
    """The permissions that a new file gets here; some writers would leave narrower ones."""
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    return mode


def _sync(path: Path) -> None:
    """Bring the contents to the disk: a crash after the rename must not leave an empty file."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def check_writable(path: str | Path) -> None:
    """Check before long work that a file `path` can be written after it; nothing is created.

    Raises:
        InputError: it is a folder, or its folder cannot be created or written to.

    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        probe = above / temporary_name("")
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {str(path)!r}: {reason}; choose another place") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with ``\\n`` line ends, atomically. Raises OSError.

    Of a file name that is no UTF-8, Python's lone surrogates are written as ``\\udce9``, which
    JSON reads back as it was.

    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically.

    Raises:
        TypeError: `obj` holds something that JSON has no form for.
        ValueError: `obj` holds a NaN or an infinity.
        OSError: the file cannot be written.

    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON in UTF-8, is nested too deeply, or has a number of too many
            digits.

    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{str(path)!r} is nested too deeply") from error


def temporary_name(suffix: str) -> str:
    """A hidden file name with host, process and the process's start."""
    pid = os.getpid()
    return f".nrpurify-{_host()}-{pid}-{_start(pid) or 0}-{secrets.token_hex(4)}{suffix}"


def sweep(folder: Path) -> None:
    """Remove temporary files of dead processes of this host, and any of others older than a day."""
    for path in list(folder.iterdir()):
        if name := _NAME.fullmatch(path.name):
            host, pid, start = name[1], int(name[2]), int(name[3])
            try:
                if _dead(pid, start) if _can_ask(host) else _old(path):
                    path.unlink(missing_ok=True)
            except OSError:  # another process was faster, or may not remove it
                continue


def sweep_once(folder: Path) -> None:
    """:func:`sweep` a folder the first time that this process writes to it."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        try:
            sweep(folder)
        except OSError:  # a folder may be writable and not readable
            return


def _can_ask(host: str) -> bool:
    """Whether a process runs here; on Windows os.kill(pid, 0) would end it, so its age decides."""
    return host == _host() and os.name == "posix"


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _DAY


@cache
def _host() -> str:
    """The machine; in containers also the space in which process numbers count."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _start(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None where that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _dead(pid: int, start: int) -> bool:
    now = _start(pid)
    if start and now is not None:
        return now != start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        return False
    return False
