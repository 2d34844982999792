"""Locks between processes, which the operating system gives back when their holder dies."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.core.records import MANIFEST

if sys.platform == "win32":
    import msvcrt

    def _try(descriptor: int, shared: bool = False) -> bool:  # no lock that several hold
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(descriptor: int, shared: bool = False) -> bool:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def locked(path: Path, poll: float = 0.1) -> Iterator[None]:
    """Hold the lock file ``path`` (made if absent, never removed), waiting as long as it takes.

    ``poll`` is the waiting time between two tries, in seconds. A killed process leaves no stale
    lock behind: closing the file, however it happens, gives the lock back.
    """
    with path.open("a+b") as file:
        while not _try(file.fileno()):
            time.sleep(poll)
        yield


@contextmanager
def locked_at_once(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` without waiting; gives False where another process holds it.

    On a file system without locks it gives True.
    """
    with path.open("a+b") as file:
        try:
            got = _try(file.fileno())
        except OSError:
            got = True
        yield got


@contextmanager
def folder_locked_at_once(folder: Path, *, shared: bool = False) -> Iterator[bool]:
    """:func:`locked_at_once` for a folder, with no lock file left in it where that is possible.

    A ``shared`` lock leaves out only those who lock the folder for themselves.
    """
    if sys.platform == "win32":  # folders have no descriptors there
        with nullcontext(True) if shared else locked_at_once(folder / ".nrpurify.lock") as got:
            yield got
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            got = _try(descriptor, shared)
        except OSError:
            got = True
        yield got
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path | None, name: str = MANIFEST) -> Iterator[None]:
    """Make a folder of outputs, and keep other runs out of it during the block.

    Args:
        folder: None for one file without a manifest; it needs no such care.
        name: The manifest that this run writes; with that of a shard, other shards may write too.

    Raises:
        InputError: Another run writes there, or the folder cannot be made or opened.
    """
    if folder is None:
        yield
        return
    is_shard = name != MANIFEST
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            got = stack.enter_context(folder_locked_at_once(folder, shared=is_shard))
            if got and is_shard:
                got = stack.enter_context(locked_at_once(folder / f".{name}.lock"))
        except OSError as error:
            raise unwritable(folder, error) from error
        if not got:
            raise InputError(
                f"another run of nrpurify writes to {str(folder)!r}; wait for its end or choose "
                "another folder (one command takes several sources)"
            )
        yield


def unwritable(folder: Path, error: OSError) -> InputError:
    """The error of a folder in which no manifest can be written."""
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write a manifest in {str(folder)!r}: {reason}; choose another folder"
    )
