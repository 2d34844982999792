"""Attacks on image files, with a manifest from which an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

import nrpurify
from nrpurify.errors import ImageError, InputError
from nrpurify.evaluation import check_budget
from nrpurify.floats import float_path, write_float
from nrpurify.folders.attackers import prepare_attack
from nrpurify.folders.jobs import (
    FolderResult,
    Item,
    Job,
    Watch,
    collect,
    image_generator,
    plan_jobs,
)
from nrpurify.folders.manifest import Manifest
from nrpurify.folders.options import Attacker, AttackOptions
from nrpurify.images import Image, from_uint8, read_image, to_uint8, write_png
from nrpurify.precision import bf16_is_fast


def attack_folder(
    source: str | Path,
    dst: str | Path,
    options: AttackOptions,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    floats: bool = False,
    watch: Watch | None = None,
) -> FolderResult:
    """Attack an image, a folder or a glob into PNG files with a ``manifest.json``.

    Transparency is kept. A file that cannot be read, attacked or written, or that has no line in
    the table of labels, becomes a failed item and the others go on. Called again after an
    interruption it goes on with the same result.

    Args:
        source: See :func:`nrpurify.folders.plan_jobs`.
        dst: A folder.
        options: The attack.
        recursive: Look into sub-folders.
        overwrite: Make everything anew, whatever is there.
        floats: Also write the unrounded values, see :mod:`nrpurify.floats`.
        watch: Sees each file's result.

    Raises:
        InputError: Source, destination or an option that cannot be used, or images in ``dst`` that
            were made with other settings.
        WeightsError: The surrogate's weights are not to be had.
        AssertionError: The attack left its budget.
    """
    jobs = plan_jobs(source, dst, recursive=recursive)
    attacker = prepare_attack(options)
    if attacker.classes is not None:
        attacker.classes.check_jobs(jobs)
    head = _head(options, attacker)
    manifest = Manifest.enter(Path(dst), head, jobs, overwrite=overwrite, floats=floats)
    items = _Run(options, attacker, manifest).items(jobs)
    return collect(items, len(jobs), watch)


def _head(options: AttackOptions, attacker: Attacker) -> dict[str, dict[str, Any]]:
    half = options.amp is True or (
        options.amp == "auto" and bf16_is_fast(torch.device(options.device))
    )
    return {
        "settings": {
            "attack": options.name,
            "surrogate": attacker.surrogate,
            "eps": options.eps,
            "preset": options.preset,
            **attacker.settings,
            "batch": options.batch,
            "seed": options.seed,
            "device": options.device,
            "precision": "bf16" if half else "fp32",
        },
        "versions": {"nrpurify": nrpurify.__version__, "torch": str(torch.__version__)},
        "weights_sha256": attacker.weights_sha256(),
    }


@dataclass(frozen=True)
class _Run:
    options: AttackOptions
    attacker: Attacker
    manifest: Manifest

    def items(self, jobs: Sequence[Job]) -> Iterator[Item]:
        """Work chunk by chunk; a chunk that was interrupted is made again as a whole."""
        for first in range(0, len(jobs), self.options.batch):
            chunk = jobs[first : first + self.options.batch]
            if all(self.manifest.holds(job) for job in chunk):
                yield from (Item(job, "skipped") for job in chunk)
                continue
            items = self._attack_chunk(chunk)
            self.manifest.save()
            yield from items

    def _attack_chunk(self, chunk: Sequence[Job]) -> list[Item]:
        readable: list[tuple[Job, Image]] = []
        items: list[Item] = []
        for job in chunk:
            try:
                readable.append((job, self._read(job)))
            except (ImageError, InputError) as error:
                items.append(Item.failed(job, error))
        for _, group in groupby(readable, key=lambda pair: pair[1].rgb.shape):
            items += self._attack_group(list(group))
        return items

    def _attack_group(self, group: list[tuple[Job, Image]]) -> list[Item]:
        clean = torch.stack([image.rgb for _, image in group]).to(self.options.device)
        generators = [image_generator(self.options.seed, job.relative) for job, _ in group]
        try:
            attacked = self.attacker.perturb(clean, generators, self._classes(group))
        except RuntimeError as error:  # out of memory, or too small for the surrogate
            return [Item.failed(job, error) for job, _ in group]
        check_budget(clean, attacked, self.options.eps)
        return [
            self._write(job, image, one.cpu())
            for (job, image), one in zip(group, attacked, strict=True)
        ]

    def _read(self, job: Job) -> Image:
        if self.attacker.classes is not None:
            self.attacker.classes.of(job)  # an image without a class is not attacked
        return read_image(job.source)

    def _classes(self, group: list[tuple[Job, Image]]) -> torch.Tensor | None:
        classes = self.attacker.classes
        return None if classes is None else torch.tensor([classes.of(job) for job, _ in group])

    def _write(self, job: Job, image: Image, attacked: torch.Tensor) -> Item:
        try:
            write_png(job.output, attacked, image.alpha)
            if self.manifest.floats:
                write_float(float_path(job.output), attacked)
        except ImageError as error:
            return Item.failed(job, error)
        change = float((from_uint8(to_uint8(attacked)) - image.rgb).abs().max())
        self.manifest.record(job, change, float((attacked - image.rgb).abs().max()))
        return Item(job, "done", change=change)
