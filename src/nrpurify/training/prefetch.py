"""Work done ahead of its use by threads; what comes of it depends on its index alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """``make(0)``, ``make(1)`` and so on, the next few made ahead by threads.

    Threads rather than processes: decoding and resizing release Python's lock, and nothing is
    copied or started anew.

    Args:
        make: A function of the index alone, safe to call from several threads.
        count: Indices below it are made ahead.
        threads: How many threads, 0 to make each value when it is wanted.
    """

    def __init__(self, make: Callable[[int], T], count: int, threads: int) -> None:
        self._make, self._count, self._threads = make, count, threads
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[T]] = {}

    def get(self, index: int) -> T:
        """The value of ``index``; raises what ``make`` raises."""
        if not self._threads:
            return self._make(index)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "nrpurify-prefetch")
        window = range(index, max(min(index + 1 + 2 * self._threads, self._count), index + 1))
        for stale in self._pending.keys() - set(window):
            self._pending.pop(stale).cancel()
        for ahead in window:
            if ahead not in self._pending:
                self._pending[ahead] = self._pool.submit(self._make, ahead)
        return self._pending.pop(index).result()

    def close(self) -> None:
        """Drop what was made ahead; a later :meth:`get` starts again."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._pending = None, {}
