"""Purification of image files, with a manifest from which an interrupted run continues."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from nrpurify.batch.jobs import FolderResult, Item, collect
from nrpurify.batch.pipeline import (
    AHEAD,
    default_batch,
    default_workers,
    in_groups,
    run_all,
    submit_to,
    worker_threads,
)
from nrpurify.batch.planning import Shard, Sources, plan_jobs
from nrpurify.batch.work import Purification, Worker
from nrpurify.core.errors import InputError
from nrpurify.core.hashing import tensors_hash
from nrpurify.core.image_files import CONTAINERS, MAX_PIXELS
from nrpurify.core.lock import alone
from nrpurify.core.manifest import Job, Manifest, make_head
from nrpurify.core.opening import Frames
from nrpurify.core.precision import Amp, arithmetic
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.versions import versions
from nrpurify.purifiers import DynamicPurifier

_LOGGER = logging.getLogger(__name__)


def purify_folder(
    source: Sources,
    dst: str | Path,
    defense: nn.Module,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    tile: int = 512,
    mode: Literal["static", "dynamic"] = "static",
    seed: int = 0,
    device: torch.device | str = "cpu",
    amp: Amp = "auto",
    format: Literal["png", "webp", "jpeg"] | None = None,
    about: Mapping[str, Any] | None = None,
    frames: Frames = "refuse",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = SILENT,
    workers: int | None = None,
    batch: int | None = None,
    shard: str = "0/1",
    engine: Literal["threads", "ray"] = "threads",
    address: str | None = None,
    column: str | None = None,
    codec: str = "ffv1",
) -> FolderResult:
    """Purify images, folders or globs into image files, in bounded memory.

    Images are read, purified and written in ``workers`` threads, with one core each. Neither
    ``workers`` nor ``batch`` nor ``shard`` changes a byte of an output.

    Transparency is kept; it moves with the pixels where the defense moves them. A file that cannot
    be read, processed or written becomes a failed item and the others continue. A folder of outputs
    gets a ``manifest.jsonl``: called again, only what is missing or has changed is made.

    Args:
        source: See :func:`nrpurify.batch.plan_jobs`.
        dst: A folder; or for one source file a name in .png, .webp, .jpg or .jpeg, which gets no
            manifest.
        defense: A purifier or another module from images to images, on ``device``. Memory is
            bounded by tiles for purifiers, also as parts of a chain. One pass of a random one.
        recursive: Search sub-folders.
        overwrite: Make outputs again, also those of other settings or sources, and a file
            ``dst``. Files in a folder that its manifest does not list are never replaced.
        tile: Side of the tiles in pixels.
        mode: ``static``, or ``dynamic``: behind a random step (appendix B.1).
        seed: Of all that is random; each image has its own, see
            :func:`nrpurify.batch.image_generator`.
        device: Where to work.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"`` (where the hardware has it).
        format: Of the outputs; None for the suffix of ``dst``, else png. WebP is lossless. JPEG
            changes what was purified and drops transparency.
        about: Name and settings of ``defense`` for the manifest; by default its text form.
        frames: Of files with several frames or pages: ``refuse`` them, or read the ``first``.
        max_pixels: Larger images are failed items.
        progress: Sees the files that are done, and the images inside videos, tar and Parquet
            files, under the file's name.
        workers: Images in work at the same time; None for one a core, and 16 at most.
        batch: Images of one size that a purifier sees together; None for 1 on a CPU, 8 elsewhere.
        shard: ``i/n``, i from 0: of the images only part i of n, with a manifest of its own, so
            that n machines need not know of each other.
        engine: ``threads`` of this machine, or ``ray``, see :mod:`nrpurify.batch.ray_engine`.
        address: Of a Ray cluster that runs; None starts one on this machine.
        column: Of the images in Parquet files, see
            :func:`nrpurify.batch.archives.purify_parquet`.
        codec: Of videos, see :func:`nrpurify.batch.video.purify_video`.

    Raises:
        InputError: Source, destination or a setting that cannot be used, or outputs in ``dst`` of
            other settings or other sources.
    """
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    if engine not in ("threads", "ray"):
        raise InputError(f"engine is {engine!r}; expected 'threads' or 'ray'")
    if address is not None and engine != "ray":
        raise InputError(
            "--address is of a Ray cluster; give --engine ray with it (in Python engine='ray')"
        )
    for name, value in (("workers", workers), ("batch", batch)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    part = Shard.parse(shard)
    plan = plan_jobs(source, dst, recursive=recursive, overwrite=overwrite, format=format)
    plan.check_shard(part)
    kinds = {CONTAINERS.get(job.source.suffix.lower()) for job in plan.jobs}
    if plan.format == "jpeg":
        _LOGGER.warning("JPEG changes the purified values; PNG and WebP keep them")
    settings = {
        **(about or {"defense": repr(defense)}),
        "state_sha256": tensors_hash(defense.state_dict()),
        "mode": mode,
        "tile": tile,
        "seed": seed,
        "device": str(device),
        "precision": arithmetic(amp, device),
        "format": plan.format,
    }
    if column is not None:
        if "parquet" not in kinds:
            raise InputError(f"column is {column!r}, and no source is a Parquet file; leave it out")
        settings["column"] = column
    if codec != "ffv1":
        if "video" not in kinds:
            raise InputError(f"codec is {codec!r}, and no source is a video; leave it out")
        from nrpurify.batch.video import check_codec  # PyAV only where somebody names a codec

        check_codec(codec)
        settings["codec"] = codec
        _LOGGER.warning("the codec %s may change the purified values; ffv1 keeps them", codec)
    origins = {getattr(part, "origin", type(part).__module__) for part in defense.modules()}
    head = make_head(settings, made_with=versions(origins))
    defense = DynamicPurifier(defense) if mode == "dynamic" else defense
    work = Purification(defense, device, tile, amp, seed, plan.format, frames, max_pixels)
    batch = default_batch(device) if batch is None else batch
    jobs = part.of(plan.jobs)
    with alone(plan.folder, part.manifest):
        manifest = Manifest.enter(plan.folder, head, jobs, overwrite=overwrite, name=part.manifest)
        if engine == "ray":
            made = _by_ray(work, jobs, manifest, address, workers, batch, column, codec)
        else:
            made = _by_threads(work, jobs, manifest, workers, batch, column, codec, progress)
        with closing(made) as items:
            result = collect(items, "purify", len(jobs), progress)
        manifest.finish()
    result.left_out, result.where = plan.left_out, plan.where
    order = {job: index for index, job in enumerate(jobs)}
    result.items.sort(key=lambda item: order[item.job])
    return result


def _by_threads(
    work: Purification,
    jobs: Sequence[Job],
    manifest: Manifest,
    workers: int | None,
    batch: int,
    column: str | None,
    codec: str,
    progress: Progress,
) -> Generator[Item]:
    workers = default_workers() if workers is None else workers
    images = _missing([job for job in jobs if not job.is_container], manifest)
    containers = [job for job in jobs if job.is_container]
    with worker_threads(workers) as pool, worker_threads(workers) as tiles:
        worker = Worker(work, batch=batch, tiles=tiles)
        submit = submit_to(pool, worker)
        yield from run_all(in_groups(images, batch), submit, AHEAD * workers, manifest)
        if containers:  # after the images, one by one
            from nrpurify.batch.containers import converter, make_containers

            convert = converter(
                worker, pool, 2 * workers, column=column, codec=codec, progress=progress
            )
            yield from make_containers(_missing(containers, manifest), convert, manifest)


def _by_ray(
    work: Purification,
    jobs: Sequence[Job],
    manifest: Manifest,
    address: str | None,
    workers: int | None,
    batch: int,
    column: str | None,
    codec: str,
) -> Generator[Item]:
    from nrpurify.batch.ray_engine import ray_workers

    images = _missing([job for job in jobs if not job.is_container], manifest)
    others = _missing([job for job in jobs if job.is_container], manifest)
    stream = chain(in_groups(images, batch), in_groups(others, 1))
    with ray_workers(
        work, address=address, workers=workers, batch=batch, column=column, codec=codec
    ) as (submit, cores):
        yield from run_all(stream, submit, AHEAD * cores, manifest)


def _missing(jobs: Sequence[Job], manifest: Manifest) -> Iterator[Item | Job]:
    """Jobs whose outputs are not there yet, and items of the others."""
    for job in jobs:
        try:
            job.check_output()
            kept = manifest.holds(job)
        except Exception as error:  # whatever one file does, the others are made
            yield Item.failed(job, error)
        else:
            yield _kept(job, manifest) if kept else job


def _kept(job: Job, manifest: Manifest) -> Item:
    facts = manifest.facts(job)
    broken = tuple(facts.get("broken", ()))
    return Item(job, "skipped", parts=facts.get("parts"), broken=broken)
