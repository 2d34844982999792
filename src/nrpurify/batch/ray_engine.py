"""The same work on a Ray cluster: paths go in, files come out, and images never travel."""

from __future__ import annotations

import importlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from nrpurify.batch.containers import converter
from nrpurify.batch.jobs import Item
from nrpurify.batch.pipeline import worker_threads
from nrpurify.batch.work import Made, Purification, Worker
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.manifest import Job
from nrpurify.core.progress import SILENT

RETRIES = 3
"""How often a task whose worker died is begun again. A file that kills each worker fails."""


@contextmanager
def ray_workers(
    work: Purification,
    *,
    address: str | None,
    workers: int | None,
    batch: int,
    column: str | None,
    codec: str,
) -> Iterator[tuple[Callable[[Sequence[Job]], Future[list[Made]]], int]]:
    """Connect to a cluster, or start one on this machine.

    Each task makes one group of images, or one file of many images, with one core (and one GPU
    where the device is one). The defense is sent once. A task whose worker died is begun again by
    Ray; its outputs take the place of what the dead worker left, byte for byte the same.

    Args:
        work: What to do; of its defense, all classes must be importable on the workers.
        address: Of a cluster that runs; None starts one here, for the time of the block.
        workers: Cores of a cluster that is started; None for all.
        batch: As for :class:`Worker`.
        column: Of images in Parquet files.
        codec: Of videos.

    Yields:
        What begins a group of jobs, and the number of cores of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: No cluster at the address.
    """
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells nobody of this run
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    own = not ray.is_initialized()
    if own:
        _start(ray, address, workers)
    try:
        sent = ray.put((work, batch, column, codec))
        needs = {"num_gpus": 1} if torch.device(work.device).type == "cuda" else {}
        task = ray.remote(num_cpus=1, max_retries=RETRIES, **needs)(_make)

        def submit(jobs: Sequence[Job]) -> Future[list[Made]]:
            # in a list, Ray hands the reference on; each process reads the defense once
            return _named(jobs, task.remote([sent], [_absolute(job) for job in jobs]).future())

        yield submit, max(int(ray.cluster_resources().get("CPU", 1)), 1)
    finally:
        if own:
            ray.shutdown()


def _start(ray: Any, address: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    where = f"no Ray cluster at {address!r}"
    if address is None:
        where = "Ray could not start a cluster here"
        options |= {"num_cpus": workers, "include_dashboard": False}
    else:
        options["address"] = address
    try:
        if found := re.fullmatch(r"([\w.-]+):(\d+)", address or ""):  # Ray itself tries for minutes
            socket.create_connection((found[1], int(found[2])), timeout=10).close()
        ray.init(**options)
    except Exception as error:  # Ray raises plain ones, too
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: {line}; see `ray status`, or leave --engine ray out") from error


def _make(sent: Sequence[Any], jobs: Sequence[Job]) -> list[Made]:
    """What a task does, in a process of the cluster."""
    work, batch, column, codec = _received(sent[0])
    if not jobs[0].is_container:
        torch.set_num_threads(1)
        return Worker(work, batch=batch)(jobs)
    with worker_threads(1) as pool:
        convert = converter(Worker(work), pool, 2, column=column, codec=codec, progress=SILENT)
        return [convert(job) for job in jobs]


@lru_cache(maxsize=1)
def _received(reference: Any) -> Any:
    import ray

    return ray.get(reference)


def _absolute(job: Job) -> Job:
    return replace(job, source=job.source.absolute(), output=job.output.absolute())


def _named(jobs: Sequence[Job], found: Future[list[Made]]) -> Future[list[Made]]:
    """The result with the jobs as they were given; of a task that failed, failed items."""
    given = {job.output.absolute(): job for job in jobs}
    named: Future[list[Made]] = Future()

    def finish(found: Future[list[Made]]) -> None:
        try:
            made = [
                replace(one, item=replace(one.item, job=given[one.item.job.output]))
                for one in found.result()
            ]
        except Exception as error:  # its workers died, or lack a class of the defense
            made = [Made(Item.failed(job, error)) for job in jobs]
        with suppress(Exception):  # cancelled meanwhile
            named.set_result(made)

    found.add_done_callback(finish)
    return named
