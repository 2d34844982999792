"""``nrpurify purify``."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    Json,
    Recursive,
    Seed,
    finish_folder,
    progress_bar,
    resolve_amp,
    resolve_device,
)

EXAMPLES = """Examples:

nrpurify purify attacked/ clean/ --recursive

nrpurify purify 'photos/2024-*.jpg' out/ --purifier runs/mine/purifier.safetensors

nrpurify purify cat.jpg cat-purified.png"""


class Mode(StrEnum):
    """What ``--mode`` takes."""

    STATIC = "static"
    DYNAMIC = "dynamic"


def command(
    source: Annotated[str, typer.Argument(metavar="SRC", help="An image, a folder or a glob.")],
    dst: Annotated[
        Path, typer.Argument(metavar="DST", help="A folder; for one image also a name in .png.")
    ],
    purifier: Annotated[str, typer.Option(help="A shipped purifier's name, or a file.")] = "fast",
    recursive: Recursive = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make outputs anew that are there already.")
    ] = False,
    tile: Annotated[
        int, typer.Option(min=16, help="Side of the tiles in pixels that bound the memory.")
    ] = 512,
    mode: Annotated[
        Mode, typer.Option(help="dynamic: behind a random step, for adaptive attackers.")
    ] = Mode.STATIC,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    json: Json = False,
) -> None:
    """Purify images into PNG files, keeping names, structure and transparency.

    Outputs that are there already are kept.

    Broken files are passed over and listed at the end, with exit code 1.
    """
    from nrpurify.folders import purify_folder
    from nrpurify.purifiers import load_purifier

    started = time.monotonic()
    device = resolve_device(device)
    network = load_purifier(purifier, device=device)
    with progress_bar() as progress:
        task = progress.add_task("purify", total=None)
        result = purify_folder(
            source,
            dst,
            network,
            recursive=recursive,
            overwrite=overwrite,
            tile=tile,
            mode=mode.value,
            seed=seed,
            device=device,
            amp=resolve_amp(amp),
            watch=lambda _, total: progress.update(task, advance=1, total=total),
        )
    details = {
        "seconds": round(time.monotonic() - started, 2),
        "purifier": network.card.name,
        "purifier_sha256": network.card.sha256,
        "mode": mode.value,
        "seed": seed,
        "device": device,
        "amp": amp.value,
    }
    finish_folder(result, "purified", details, json)
