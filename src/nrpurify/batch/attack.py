"""Attacks on image files, with a manifest from which an interrupted run continues."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from nrpurify.attacks.constraints import lost_by_rounding, round_within
from nrpurify.attacks.gradient_log import GradientCount, gradient_notes, log_gradients
from nrpurify.attacks.runner import AttackRunner, AttackSpec, Surrogate
from nrpurify.batch.classes import Classes
from nrpurify.batch.jobs import FolderResult, Item, collect
from nrpurify.batch.options import AttackOptions
from nrpurify.batch.planning import Shard, Sources, plan_jobs
from nrpurify.core.errors import InputError
from nrpurify.core.hashing import file_hash
from nrpurify.core.image_files import MAX_PIXELS, image_tensor_path
from nrpurify.core.image_tensors import save_image_tensor
from nrpurify.core.images import Image, read_image, write_png
from nrpurify.core.lock import alone
from nrpurify.core.manifest import Job, Manifest, make_head
from nrpurify.core.opening import Frames
from nrpurify.core.precision import arithmetic
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.records import Head
from nrpurify.core.registry import origins_used
from nrpurify.core.versions import versions
from nrpurify.evaluation.batches import check_budget

_LOG = logging.getLogger(__name__)


def attack_folder(
    source: Sources,
    dst: str | Path,
    options: AttackOptions,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    floats: bool = False,
    frames: Frames = "refuse",
    max_pixels: int = MAX_PIXELS,
    limit: int | None = None,
    progress: Progress = SILENT,
    shard: str = "0/1",
) -> FolderResult:
    """Attack images, folders or globs into PNG files with a ``manifest.jsonl``.

    Transparency is kept. A file that cannot be read, attacked or written, or that has no line in
    the table of labels, becomes a failed item and the others continue. Called again after an
    interruption it continues to the same result.

    Args:
        source: See :func:`nrpurify.batch.plan_jobs`.
        dst: A folder; or for one source file a name in .png, which gets no manifest.
        options: The attack.
        recursive: Search sub-folders.
        overwrite: Make outputs again, also those of other settings or sources, and a file
            ``dst``. Files in a folder that its manifest does not list are never replaced.
        floats: Also write the unrounded values, see :mod:`nrpurify.core.image_tensors`.
        frames: Of files with several frames or pages: ``refuse`` them, or read the ``first``.
        max_pixels: Larger images are failed items.
        limit: Only the first so many images, in the order of their names; None for all.
        progress: Sees the files that are done.
        shard: ``i/n``, i from 0: only part i of n, whole groups, with a manifest of its own, so
            that n machines need not know of each other.

    Raises:
        InputError: Source, destination or an option that cannot be used, or images in ``dst`` that
            were made with other settings or from other sources.
        WeightsError: The surrogate's weights are not to be had.
        AssertionError: The attack left its budget.
    """
    part = Shard.parse(shard)
    plan = plan_jobs(source, dst, recursive=recursive, overwrite=overwrite)
    plan.check_shard(part)
    if plan.format != "png":
        raise InputError(f"{str(dst)!r}: attacked images are PNG files; expected a name in .png")
    for job in plan.jobs:
        if job.is_container:
            raise InputError(
                f"{str(job.source)!r} is no image file; attack reads images only: unpack it, or "
                "leave it out"
            )
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1, or None for all images")
    jobs = plan.jobs[:limit]
    if len(jobs) < len(plan.jobs):
        _LOG.info("the first %d of %d images are attacked", len(jobs), len(plan.jobs))
    jobs = part.of(jobs, options.group)
    spec = options.spec
    with origins_used() as origins:
        classes = Classes.read(options.labels, options.targets) if spec.entry.labels else None
        network = spec.load()
    if network is not None:
        network = network.to(options.device)
    if classes is not None:
        for member in spec.members(network).values():
            if (known := getattr(member, "num_classes", None)) is not None:
                classes.check_range(known)
        classes.check_jobs(plan.jobs)
    head = _head(options, spec, network, classes, versions(origins))
    runner = spec.runner(network, group=options.group, seed=options.seed, amp=options.amp)
    read = partial(read_image, max_pixels=max_pixels, frames=frames)
    with alone(plan.folder, part.manifest):
        manifest = Manifest.enter(
            plan.folder, head, jobs, overwrite=overwrite, floats=floats, name=part.manifest
        )
        items = _Run(options, runner, classes, manifest, read).items(jobs)
        result = collect(
            items, "attack", len(jobs), progress, left_out=plan.left_out, where=plan.where
        )
        manifest.finish()
    finished = [item.job for item in result.items if item.status != "failed"]
    result.notes = gradient_notes(
        GradientCount.from_dict(manifest.facts(job).get("gradient")) for job in finished
    )
    result.notes += lost_by_rounding(options.eps)
    return result


def _head(
    options: AttackOptions,
    spec: AttackSpec,
    network: Surrogate,
    classes: Classes | None,
    made_with: Mapping[str, str],
) -> Head:
    settings = {
        "attack": options.name,
        "surrogate": ",".join(spec.networks) or None,
        "eps": options.eps,
        **({} if options.norm == "linf" else {"norm": options.norm}),
        "preset": options.preset,
        **spec.described(network),
        "group": options.group,
        "seed": options.seed,
        "device": options.device,
        "precision": arithmetic(options.amp, options.device),
    }
    if spec.entry.labels:
        goal = "targets" if spec.targeted else "labels"
        settings[goal] = "predicted" if classes is None else file_hash(classes.path)
    return make_head(settings, spec.weights_sha256(network), made_with=made_with)


@dataclass(frozen=True)
class _Run:
    options: AttackOptions
    runner: AttackRunner
    classes: Classes | None
    manifest: Manifest
    read: Callable[[Path], Image]

    def items(self, jobs: Sequence[Job]) -> Iterator[Item]:
        """Work group by group; one that was interrupted is made again as a whole."""
        for first in range(0, len(jobs), self.options.group):
            chunk = jobs[first : first + self.options.group]
            if all(self._holds(job) for job in chunk):
                yield from (Item(job, "skipped") for job in chunk)
            else:
                yield from self._attack_chunk(chunk)

    def _holds(self, job: Job) -> bool:
        try:
            return self.manifest.holds(job)
        except OSError:  # reading or writing it will tell why
            return False

    def _attack_chunk(self, chunk: Sequence[Job]) -> list[Item]:
        readable: list[tuple[Job, Image]] = []
        items: list[Item] = []
        for job in chunk:
            try:
                readable.append((job, self._read(job)))
            except Exception as error:  # whatever one file does, the others are attacked
                items.append(Item.failed(job, error))
        for _, group in groupby(readable, key=lambda pair: pair[1].pixels.shape):
            items += self._attack_group(list(group))
        return items

    def _attack_group(self, group: list[tuple[Job, Image]]) -> list[Item]:
        try:
            clean = torch.stack([image.rgb for _, image in group]).to(self.options.device)
            with log_gradients() as log:
                attacked = self.runner(clean, self._classes(group))
            check_budget(clean, attacked, self.options.eps, self.options.norm)
        except AssertionError:  # a fault of the attack, not of a file
            raise
        except Exception as error:  # out of memory, or too small for the surrogate
            return [Item.failed(job, error) for job, _ in group]
        counts = log.images or [GradientCount()] * len(group)
        return [
            self._write(job, image, one, count)
            for (job, image), one, count in zip(group, attacked, counts, strict=True)
        ]

    def _read(self, job: Job) -> Image:
        if self.classes is not None:
            self.classes.of(job)  # an image without a class is not attacked
        job.check_output()
        return self.read(job.source)

    def _classes(self, group: list[tuple[Job, Image]]) -> torch.Tensor | None:
        classes = self.classes
        return None if classes is None else torch.tensor([classes.of(job) for job, _ in group])

    def _write(self, job: Job, image: Image, attacked: torch.Tensor, count: GradientCount) -> Item:
        try:
            attacked = attacked.cpu()
            rounded = round_within(attacked, image.rgb, self.options.eps, self.options.norm)
            change = float((rounded - image.rgb).abs().max())
            self.manifest.begin(job)
            write_png(job.output, rounded, image.alpha)
            if self.manifest.floats:
                save_image_tensor(image_tensor_path(job.output), attacked)
            unrounded = float((attacked - image.rgb).abs().max())
            facts: dict[str, Any] = {"gradient": counts} if (counts := count.to_dict()) else {}
            if self.options.norm == "l2":
                facts["l2"] = float((rounded - image.rgb).norm())
            self.manifest.record(job, linf=change, float_linf=unrounded, facts=facts)
        except Exception as error:  # whatever one file does, the others are attacked
            return Item.failed(job, error)
        return Item(job, "done", change=change)
