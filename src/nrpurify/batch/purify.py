"""Purification of image files, with a manifest from which an interrupted run continues."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from nrpurify.batch.defend import defend_image
from nrpurify.batch.jobs import FolderResult, Item, Watch, collect, image_generator
from nrpurify.batch.planning import Sources, plan_jobs
from nrpurify.core.decoding import Frames
from nrpurify.core.errors import InputError
from nrpurify.core.files import MAX_PIXELS
from nrpurify.core.hashing import tensors_hash
from nrpurify.core.images import read_image, write_image
from nrpurify.core.manifest import Job, Manifest, alone, make_head
from nrpurify.core.precision import Amp, arithmetic
from nrpurify.defenses import reseed
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
    watch: Watch | None = None,
) -> FolderResult:
    """Purify images, folders or globs into image files, one at a time in bounded memory.

    Transparency is kept; it moves with the pixels where the defense moves them. A file that cannot
    be read, processed or written becomes a failed item and the others continue. A folder of outputs
    gets a ``manifest.jsonl``: called again, only what is missing or has changed is made.

    Args:
        source: See :func:`nrpurify.batch.plan_jobs`.
        dst: A folder; or for one source file a name in .png, .webp, .jpg or .jpeg that does not
            exist, which gets no manifest.
        defense: A purifier or another module from images to images, on ``device``. Memory is
            bounded by tiles for purifiers, also as parts of a chain. One pass of a random one.
        recursive: Search sub-folders.
        overwrite: Make outputs again, also those of other settings or sources. Files that the
            manifest does not list are never replaced.
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
        watch: Sees each file's result.

    Raises:
        InputError: Source, destination or a setting that cannot be used, or outputs in ``dst`` of
            other settings or other sources.
    """
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    plan = plan_jobs(source, dst, recursive=recursive, format=format)
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
    defense = DynamicPurifier(defense) if mode == "dynamic" else defense

    def work(job: Job, manifest: Manifest) -> None:
        image = read_image(job.source, max_pixels=max_pixels, frames=frames)
        reseed(defense, image_generator(seed, job.relative))
        purified, alpha = defend_image(defense, image, device=device, tile=tile, amp=amp)
        manifest.begin(job)
        write_image(job.output, purified, alpha, format=plan.format)
        manifest.record(job)

    def process(job: Job, manifest: Manifest) -> Item:
        try:
            job.check_output()
            if manifest.holds(job):
                return Item(job, "skipped")
            work(job, manifest)
        except Exception as error:  # whatever one file does, the others are made
            return Item.failed(job, error)
        return Item(job, "done")

    with alone(plan.folder):
        manifest = Manifest.enter(plan.folder, make_head(settings), plan.jobs, overwrite=overwrite)
        items = (process(job, manifest) for job in plan.jobs)
        result = collect(items, len(plan.jobs), watch, left_out=plan.left_out, where=plan.where)
        manifest.finish()
    return result
