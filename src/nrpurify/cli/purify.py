"""``nrpurify purify``."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from nrpurify.errors import InputError

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = """Examples:

nrpurify purify attacked/ clean/ --recursive

nrpurify purify 'photos/2024-*.jpg' out/ --purifier runs/mine/purifier.safetensors

nrpurify purify cat.jpg cat-purified.png

nrpurify purify attacked/ clean/ --defense jpeg:quality=75+fast"""


class Mode(StrEnum):
    """What ``--mode`` takes."""

    STATIC = "static"
    DYNAMIC = "dynamic"


def command(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="An image, a folder or a glob.")],
    dst: Annotated[
        Path, typer.Argument(metavar="DST", help="A folder; for one image also a name in .png.")
    ],
    purifier: Annotated[str, typer.Option(help="A shipped purifier's name, or a file.")] = "fast",
    defense: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="In place of a purifier, any defense or chain: tvm:weight=30, jpeg+fast ...",
            show_default=False,
        ),
    ] = None,
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

    started = time.monotonic()
    device = resolve_device(device)
    if defense is not None:
        _check_exclusive(context)
    module, about = _load(purifier, mode, defense, device)
    with progress_bar() as progress:
        task = progress.add_task("purify", total=None)
        result = purify_folder(
            source,
            dst,
            module,
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
        **about,
        "seed": seed,
        "device": device,
        "amp": amp.value,
    }
    finish_folder(result, "purified", details, json)


def _check_exclusive(context: typer.Context) -> None:
    for name in ("purifier", "mode"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"--defense and --{name} were both given; a defense says it all, as in "
                "--defense fast:mode=dynamic"
            )


def _load(
    purifier: str, mode: Mode, defense: str | None, device: str
) -> tuple[nn.Module, dict[str, Any]]:
    """What to apply, and what to tell about it."""
    from nrpurify import defenses
    from nrpurify.purifiers import load_purifier

    if defense is None:
        network = load_purifier(purifier, device=device)
        card = network.card
        return network, {
            "purifier": card.name,
            "purifier_sha256": card.sha256,
            "mode": mode.value,
        }
    links = defenses.settings(defense)
    if any("seed" in link for link in links):
        raise InputError(f"--defense {defense}: give the seed of files by --seed")
    return defenses.make(defense, device=device), {"defense": defense, "settings": links}
