"""Purification of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from nrpurify.defenses import reseed
from nrpurify.errors import ImageError, InputError
from nrpurify.folders.defend import defend_image
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
from nrpurify.purifiers import DynamicPurifier


def purify_folder(
    source: str | Path,
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
    watch: Watch | None = None,
) -> FolderResult:
    """Purify an image, a folder or a glob into PNG files, one image at a time in bounded memory.

    Transparency is kept; it moves with the pixels where the defense moves them. A file that cannot
    be read, processed or written becomes a failed item and the others go on.

    Args:
        source: See :func:`nrpurify.folders.plan_jobs`.
        dst: A folder; or for one source file a name that ends in ``.png``.
        defense: A purifier or another module from images to images, on ``device``. Memory is
            bounded by tiles for purifiers, also as parts of a chain. One pass of a random one.
        recursive: Look into sub-folders.
        overwrite: Make outputs anew that are there already, instead of keeping them.
        tile: Side of the tiles in pixels.
        mode: ``static``, or ``dynamic``: behind a random step (appendix B.1).
        seed: Of all that is random; each image has its own, see
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
    defense = DynamicPurifier(defense) if mode == "dynamic" else defense

    def work(job: Job) -> None:
        image = read_image(job.source)
        reseed(defense, image_generator(seed, job.relative))
        purified, alpha = defend_image(defense, image, device=device, tile=tile, amp=amp)
        write_png(job.output, purified, alpha)

    def process(job: Job) -> Item:
        if job.output.exists() and not overwrite:
            return Item(job, "skipped")
        try:
            work(job)
        except (ImageError, InputError, RuntimeError) as error:  # RuntimeError: out of memory
            return Item.failed(job, error)
        return Item(job, "done")

    return collect(map(process, jobs), len(jobs), watch)
