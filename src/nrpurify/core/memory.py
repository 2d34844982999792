"""What the allocator does with memory that is freed."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

_TRIM, _MMAP = -1, -3  # of malloc.h
_KEPT, _LARGEST = 512 * 2**20, 31 * 2**20


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 512 MiB that are freed, for the rest of the process.

    By default it returns freed memory to the system as soon as a few MiB are free at the end of the
    heap, and gets it back page by page. A step of an attack frees all features of a network and
    pays for them again at the next one, a third of its time in the worst case. The peak stays the
    same. Settings in the environment (``MALLOC_TRIM_THRESHOLD_``) and other allocators are
    not affected.
    """
    if platform.libc_ver()[0] != "glibc" or _is_set():
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP, _LARGEST)  # blocks up to here are in the heap; glibc allows 32 MiB
    mallopt(_TRIM, _KEPT)


def _is_set() -> bool:
    return any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"))
