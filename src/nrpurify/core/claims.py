"""Who works on what, between processes that share nothing but a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nrpurify.core.files import temporary_name

LIFETIME = 120.0
"""Seconds after which a claim that nobody renews counts for nothing."""


class Claims:
    """Claims on pieces of work: one file each, made at once or not at all, renewed while held.

    A process that dies leaves its claim behind; it expires. Ages are told by the clock of the
    folder's file system, so that the machines' own clocks may differ. In the rare case that two
    processes find one expired claim at the same moment, both may get it: what they make must be
    the same, and written under a temporary name.

    Args:
        folder: Of the claims; it is made, and removed with the last claim.
        lifetime: In seconds; claims are renewed four times in it.
    """

    def __init__(self, folder: Path, lifetime: float = LIFETIME) -> None:
        self.folder, self.lifetime = folder, lifetime

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Hold the claim ``name``, a file name, in the block; False where another process does."""
        path = self.folder / f"{name}.claim"
        if not self._take(path):
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, ended), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join()
            path.unlink(missing_ok=True)
            with suppress(OSError):  # another process holds a claim
                self.folder.rmdir()

    def _take(self, path: Path) -> bool:
        for _ in range(2):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return True
            except FileExistsError:
                if not self._expired(path):
                    return False
                self._remove_expired(path)
            except FileNotFoundError:  # the folder was removed with another claim
                continue
        return False

    def _remove_expired(self, path: Path) -> None:
        aside = path.with_name(temporary_name(".claim"))
        with suppress(OSError):  # another process was faster
            path.rename(aside)
            if self._expired(aside):
                aside.unlink()
            else:  # another process had taken it over meanwhile
                aside.rename(path)

    def _expired(self, path: Path) -> bool:
        probe = self.folder / temporary_name("")
        try:
            probe.touch()
            return probe.stat().st_mtime - path.stat().st_mtime > self.lifetime
        except FileNotFoundError:
            return False
        finally:
            probe.unlink(missing_ok=True)

    def _renew(self, path: Path, ended: threading.Event) -> None:
        while not ended.wait(self.lifetime / 4):
            with suppress(OSError):
                path.touch()
