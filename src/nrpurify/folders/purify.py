"""Purification of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nrpurify.errors import ImageError, InputError
from nrpurify.folders.jobs import (
    FolderResult,
    Item,
    Job,
    Watch,
    collect,
    image_generator,
    plan_jobs,
)
from nrpurify.images import read_image, write_png
from nrpurify.precision import Amp
from nrpurify.purifiers import DynamicPurifier, Purifier


def purify_folder(
    source: str | Path,
    dst: str | Path,
    purifier: Purifier,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    tile: int = 512,
    mode: Literal["static", "dynamic"] = "static",
    seed: int = 0,
    device: torch.device | str = "cpu",
    amp: Amp = "auto",
    watch: Watch | None = None,
) -> FolderResult:
    """Purify an image, a folder or a glob into PNG files, one image at a time in bounded memory.

    Transparency is kept. A file that cannot be read, processed or written becomes a failed item
    and the others go on.

    Args:
        source: See :func:`nrpurify.folders.plan_jobs`.
        dst: A folder; or for one source file a name that ends in ``.png``.
        purifier: On ``device``.
        recursive: Look into sub-folders.
        overwrite: Make outputs anew that are there already, instead of keeping them.
        tile: Side of the tiles in pixels.
        mode: ``static``, or ``dynamic``: behind a random step (appendix B.1).
        seed: Of the random steps; each image has its own, see
            :func:`nrpurify.folders.image_generator`.
        device: Where to work.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"`` (where the hardware has it).
        watch: Sees each file's result.

    Raises:
        InputError: Source, destination or a setting that cannot be used.
    """
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    jobs = plan_jobs(source, dst, recursive=recursive, single=True)

    def work(job: Job) -> None:
        image = read_image(job.source)
        rgb = image.rgb[None].to(device)
        if mode == "dynamic":
            rgb = _random_step(rgb, image_generator(seed, job.relative))
        purified = purifier.purify(rgb, tile=tile, amp=amp)[0]
        write_png(job.output, purified.cpu(), image.alpha)

    def process(job: Job) -> Item:
        if job.output.exists() and not overwrite:
            return Item(job, "skipped")
        try:
            work(job)
        except (ImageError, RuntimeError) as error:  # RuntimeError: out of memory
            return Item.failed(job, error)
        return Item(job, "done")

    return collect(map(process, jobs), len(jobs), watch)


def _random_step(images: Tensor, generator: torch.Generator) -> Tensor:
    stepped: Tensor = DynamicPurifier(nn.Identity(), generator=generator)(images)
    return stepped
