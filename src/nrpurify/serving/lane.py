"""A worker thread, the bounded queue before it, and batches of jobs that fit together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from nrpurify.serving.problems import BusyError

Run = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""Maps a key and the payloads of jobs with that key to one result each; runs in the thread."""
T = TypeVar("T")
_RECENT = 0.2
"""Weight of the last batch in the estimate of the pace."""


@dataclass(eq=False)
class _Job:
    key: Hashable
    payload: Any
    cost: float
    future: asyncio.Future[Any]
    since: float


class Lane:
    """Jobs wait here for one thread, which takes them in batches of one key.

    A job that nobody waits for any more (its awaiting task was cancelled) leaves the queue at
    once. A batch grows while the thread is busy; an idle thread waits ``wait`` seconds at most.

    Args:
        run: Does the work.
        name: Of the thread.
        places: Most requests that hold a place.
        cost: Most cost of all jobs at work or waiting.
        seconds: Most expected time of all jobs at work or waiting, and longest time that a job
            waits to begin.
        batch: Most jobs in one call of ``run``.
        wait: Longest time in seconds that a job waits for others of its key.
        observe: Called with the size of each finished batch and its seconds.
        changed: Called with the number of held places after each change.
        start: Called first in the thread.
        lasts: One thread does all batches; False: each batch has a new thread.
    """

    def __init__(
        self,
        run: Run,
        *,
        name: str,
        places: int,
        seconds: float,
        cost: float = float("inf"),
        batch: int = 1,
        wait: float = 0.0,
        observe: Callable[[int, float], None] = lambda images, seconds: None,
        changed: Callable[[int], None] = lambda held: None,
        start: Callable[[], object] = lambda: None,
        lasts: bool = True,
    ) -> None:
        self._run, self._observe, self._changed = run, observe, changed
        self._places, self._most_cost, self._seconds = places, cost, seconds
        self._batch, self._wait = batch, wait
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._arrived = asyncio.Event()
        self._name, self._start = name, start
        self._lasting = ThreadPoolExecutor(1, name, initializer=start) if lasts else None
        self.pace = 0.0
        """Seconds for each unit of cost, of recent batches."""
        self._closing = False
        self.held = 0
        """Requests that hold a place."""

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self._waiting)

    def expected_seconds(self, cost: float = 0.0) -> float:
        """Expected time until all jobs, and one more of this cost, are done."""
        return self.pace * (cost + sum(job.cost for job in (*self._running, *self._waiting)))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places while a request is at work.

        Raises:
            BusyError: None is free.
        """
        self.check_room()
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)
            self._arrived.set()

    def _hold(self, change: int) -> None:
        self.held += change
        self._changed(self.held)

    @property
    def is_full(self) -> bool:
        """Whether no place is free."""
        return self._closing or self.held >= self._places

    def check_room(self) -> None:
        """Raise :class:`BusyError` if no place is free."""
        if self._closing:
            raise BusyError("the server is shutting down", 5)
        if self.is_full:
            raise BusyError(f"all {self._places} places are taken", self.expected_seconds())

    async def do(self, key: Hashable, payload: Any, cost: float) -> Any:
        """Wait for the result of one job.

        Args:
            key: Jobs of equal keys may share a batch.
            payload: For ``run``.
            cost: In pixels, for the estimates.

        Raises:
            BusyError: The jobs before it would take too long or hold too many pixels.
            Exception: What ``run`` raised.
        """
        others = [*self._running, *self._waiting]
        if others:
            if sum(job.cost for job in others) + cost > self._most_cost:
                raise BusyError(
                    "the images that wait hold too many pixels", self.expected_seconds()
                )
            if self.expected_seconds(cost) > self._seconds:
                raise BusyError(
                    f"the images that wait would take about {self.expected_seconds():.0f} s",
                    self.expected_seconds(cost) - self._seconds,
                )
        future = asyncio.get_running_loop().create_future()
        job = _Job(key, payload, cost, future, time.perf_counter())
        self._waiting.append(job)
        self._arrived.set()
        try:
            await asyncio.wait({future}, timeout=self._seconds)
            if job in self._waiting:  # better a refusal than an answer that comes too late
                raise BusyError("the images before it took too long", self.expected_seconds())
            return await future
        finally:
            future.cancel()
            if job in self._waiting:
                self._waiting.remove(job)

    async def serve(self) -> None:
        """Work until :meth:`close`; a task of the application runs it."""
        while True:
            self._arrived.clear()
            if self._waiting:
                await self._work(await self._next_batch())
            elif self._closing and not self.held:
                return
            else:
                await self._arrived.wait()

    def close(self) -> None:
        """Take no new requests; :meth:`serve` returns when all that hold a place are done."""
        self._closing = True
        self._arrived.set()

    async def _next_batch(self) -> list[_Job]:
        first = self._waiting[0]
        until = first.since + self._wait
        while len(self._like(first)) < self._batch and not self._closing:
            left = until - time.perf_counter()
            if left <= 0:
                break
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                break
        chosen = self._like(first)[: self._batch]
        for job in chosen:
            self._waiting.remove(job)
        return chosen

    def _like(self, first: _Job) -> list[_Job]:
        return [job for job in self._waiting if job.key == first.key]

    async def _work(self, jobs: list[_Job]) -> None:
        if not jobs:  # the client of the only one went away
            return
        self._running = jobs
        begun = time.perf_counter()
        try:
            found = await self._call(jobs)
        except Exception as error:
            if len(jobs) == 1:
                _settle(jobs[0], error)
                return
            for job in jobs:  # one image that cannot be processed fails alone
                await self._work([job])
            return
        finally:
            self._running = []
        seconds = time.perf_counter() - begun
        pace = seconds / max(1.0, sum(job.cost for job in jobs))
        self.pace = pace if not self.pace else (1 - _RECENT) * self.pace + _RECENT * pace
        self._observe(len(jobs), seconds)
        for job, result in zip(jobs, found, strict=True):
            _settle(job, result)

    async def _call(self, jobs: list[_Job]) -> Sequence[Any]:
        payloads = [job.payload for job in jobs]
        loop = asyncio.get_running_loop()
        call = partial(self._run, jobs[0].key, payloads)
        if self._lasting is None:
            return await in_new_thread(call, self._name, self._start)
        return await loop.run_in_executor(self._lasting, call)


async def in_new_thread(call: Callable[[], T], name: str, start: Callable[[], object]) -> T:
    """Call in a thread that ends with the call; ``start`` is called in it first."""
    pool = ThreadPoolExecutor(1, name, initializer=start)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, call)
    finally:
        pool.shutdown(wait=False)


def _settle(job: _Job, result: Any) -> None:
    if job.future.done():
        return
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
