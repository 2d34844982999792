"""Names of temporary files, and the removal of those that killed processes left behind."""

import hashlib
import os
import platform
import re
import secrets
import time
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\.nrpurify-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}(\..*)?")
_DAY = 24 * 60 * 60

_swept: set[Path] = set()


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
