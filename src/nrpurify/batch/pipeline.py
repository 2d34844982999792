"""Many jobs in a few threads: a bounded number in work, and a manifest that follows them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from nrpurify.batch.jobs import Item
from nrpurify.batch.work import Made, Worker, image_size
from nrpurify.core.manifest import Job, Manifest

AHEAD = 4
"""Groups of jobs that are noted as begun, for each worker."""
_LOOK = 32
"""Batches of files among which images of one size are looked for."""

Submit = Callable[[Sequence[Job]], "Future[list[Made]]"]


def default_workers() -> int:
    """The cores that this process may use, at most 16."""
    usable = getattr(os, "sched_getaffinity", None)
    return min(len(usable(0)) if usable else os.cpu_count() or 1, 16)


def default_batch(device: torch.device | str) -> int:
    """Images that a purifier sees together: 1 on a processor, whose cores have one each."""
    return 1 if torch.device(device).type == "cpu" else 8


def use_cores(count: int) -> None:
    """Let torch use so many cores in this thread, whatever other threads ask for later.

    A thread takes the number that any thread asked for last, at its first loop: so it takes one
    first, and then this one.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


@contextmanager
def worker_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch uses one core each.

    The number of cores behind an operation may change the last bits of its result, so it is one
    for any number of workers.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "nrpurify", initializer=use_cores, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def submit_to(pool: ThreadPoolExecutor, worker: Worker) -> Submit:
    """Let threads do the work."""
    return lambda jobs: pool.submit(worker, jobs)


def in_groups(stream: Iterable[Item | Job], batch: int) -> Iterator[Item | list[Job]]:
    """Jobs in lists of ``batch`` images of one size, as far as near ones have one; items as is."""
    waiting: dict[tuple[int, int], list[Job]] = defaultdict(list)
    held = 0
    for entry in stream:
        if isinstance(entry, Item):
            yield entry
            continue
        group = waiting[image_size(entry.source) if batch > 1 else (0, 0)]
        group.append(entry)
        held += 1
        if len(group) < batch and held >= _LOOK * batch:
            group = waiting[next(size for size, jobs in waiting.items() if jobs)]
        elif len(group) < batch:
            continue
        yield list(group)
        held -= len(group)
        group.clear()
    yield from (group for group in waiting.values() if group)


def run_all(
    stream: Iterator[Item | list[Job]], submit: Submit, window: int, manifest: Manifest
) -> Generator[Item]:
    """Make outputs, and note each in the manifest just before and as soon as it is there.

    Args:
        stream: Groups of jobs, and items that need no work.
        submit: Begins the work on a group.
        window: Groups that are begun at most and not finished.
        manifest: Of the outputs.

    Yields:
        Items in the order in which they end.
    """
    running: set[Future[list[Made]]] = set()
    try:
        while True:
            chosen: list[list[Job]] = []
            while len(running) <= window // 2 and len(running) + len(chosen) < window:
                entry = next(stream, None)
                if entry is None:
                    break
                if isinstance(entry, Item):
                    yield entry
                else:
                    chosen.append(entry)
            manifest.begin(*(job for group in chosen for job in group))
            running |= {submit(group) for group in chosen}
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from _note(finished, manifest)
    finally:  # after an interruption, what is in work ends and is noted
        for future in running:
            future.cancel()
        _note({future for future in running if not future.cancelled()}, manifest)


def _note(finished: Iterable[Future[list[Made]]], manifest: Manifest) -> list[Item]:
    made = [one for future in finished for one in future.result()]
    manifest.record_all((one.item.job, one.record) for one in made if one.item.status == "done")
    return [one.item for one in made]
