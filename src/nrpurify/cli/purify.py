"""``nrpurify purify``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    FramesChoice,
    FramesOption,
    Json,
    MaxPixels,
    Overwrite,
    Paths,
    PluginOption,
    Recursive,
    Seed,
    ShardOption,
    is_given,
    load_plugin_option,
    resolve_amp,
    resolve_device,
    split_paths,
)
from nrpurify.cli.output import finish_folder, show_progress
from nrpurify.core.errors import InputError
from nrpurify.core.image_files import MAX_PIXELS

if TYPE_CHECKING:
    from torch import nn

    from nrpurify.batch import FolderResult

EXAMPLES = """Examples:

nrpurify purify attacked/ clean/ --recursive

nrpurify purify 'photos/2024-*.jpg' out/ --purifier runs/mine/purifier.safetensors

nrpurify purify *.jpg out/ --format webp

nrpurify purify cat.jpg cat-purified.png

nrpurify purify - - < cat.jpg > cat-purified.png

nrpurify purify clip.mp4 clip-purified.mkv

nrpurify purify 'shards/*.tar' purified/ --shard 0/4

nrpurify purify attacked/ clean/ --defense jpeg:quality=75+fast"""


class Format(StrEnum):
    """What ``--format`` takes."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


class Engine(StrEnum):
    """What ``--engine`` takes."""

    THREADS = "threads"
    RAY = "ray"


class Mode(StrEnum):
    """What ``--mode`` takes."""

    STATIC = "static"
    DYNAMIC = "dynamic"


def command(
    context: typer.Context,
    paths: Paths,
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
    overwrite: Overwrite = False,
    format: Annotated[
        Format | None,
        typer.Option(
            help="Format of the outputs. WebP is lossless, JPEG is not.",
            show_default="the suffix of DST, else png",
        ),
    ] = None,
    tile: Annotated[
        int, typer.Option(min=16, help="Side of the tiles in pixels; smaller needs less memory.")
    ] = 512,
    mode: Annotated[
        Mode, typer.Option(help="dynamic: with a random step first, against adaptive attackers.")
    ] = Mode.STATIC,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images in work at the same time.", show_default="one a core, at most 16"
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images of one size that the purifier sees together.",
            show_default="1 on a CPU, else 8",
        ),
    ] = None,
    shard: ShardOption = "0/1",
    engine: Annotated[
        Engine, typer.Option(help="Threads of this machine, or tasks on a Ray cluster.")
    ] = Engine.THREADS,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster.", show_default="one is started here"),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Purify on a server of nrpurify serve; --purifier is one of its names.",
            show_default="on this machine",
        ),
    ] = None,
    codec: Annotated[
        str, typer.Option(help="Codec of videos, by FFmpeg's name. Only ffv1 is lossless.")
    ] = "ffv1",
    column: Annotated[
        str | None,
        typer.Option(help="Column of a Parquet file.", show_default="image, or the only one"),
    ] = None,
    frames: FramesOption = FramesChoice.REFUSE,
    max_pixels: MaxPixels = MAX_PIXELS,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Purify images into image files, keeping names, structure and transparency.

    Also videos (into .mkv, with their audio), WebDataset's .tar files and Parquet files of images,
    given by name or by a glob such as 'clips/*.mp4'.

    A folder DST gets a manifest.jsonl with all settings and hashes; files that it does not list
    are never replaced.

    After an interruption the same command continues; it makes what is missing or has changed.
    --workers, --batch and --shard change no byte of an output.

    - is standard input as SRC and standard output as DST.

    Broken files are listed at the end, with exit code 1.
    """
    load_plugin_option(plugin)
    from nrpurify.batch import purify_folder
    from nrpurify.core.opening import set_pixel_limit

    started = time.monotonic()
    set_pixel_limit(max_pixels)
    sources, dst = split_paths(paths)
    _check_pipes(sources, dst, json)
    device = "cpu" if server is not None else resolve_device(device)
    if defense is not None:
        _check_exclusive(context)
    if server is not None:
        module, about = _from_server(context, server, purifier)
    else:
        module, about = _load(purifier, mode, defense, device)
    with _files(sources, dst, format) as (files, target), show_progress() as progress:
        result = purify_folder(
            files,
            target,
            module,
            recursive=recursive,
            overwrite=overwrite,
            tile=tile,
            mode=mode.value,
            seed=seed,
            device=device,
            amp=resolve_amp(amp),
            format=None if format is None else format.value,
            about=about,
            frames=frames.value,
            max_pixels=max_pixels,
            workers=workers,
            batch=batch,
            shard=shard,
            engine=engine.value,
            address=address,
            codec=codec,
            column=column,
            progress=progress,
        )
    details = {
        "seconds": round(time.monotonic() - started, 2),
        **about,
        "seed": seed,
        "device": device,
        "amp": amp.value,
    }
    if "-" in (*sources, dst):
        result = _with_pipe_names(result, files[0], dst)
    finish_folder(result, "purified", details, json)


def _with_pipe_names(result: FolderResult, source: str, dst: str) -> FolderResult:
    """The result with the user's names for the temporary files."""
    name = "standard input" if Path(source).name == "stdin" else source
    items = [replace(item, reason=item.reason.replace(source, name)) for item in result.items]
    return replace(result, items=items, where="standard output" if dst == "-" else result.where)


def _check_pipes(sources: Sequence[str], dst: str, json: bool) -> None:
    if "-" in sources:
        folder = Path(dst).is_dir() or dst.endswith(("/", os.sep)) or not Path(dst).suffix
        if len(sources) > 1 or (folder and dst != "-"):
            raise InputError("- (standard input) is one image; expected one SRC and a file as DST")
    if dst == "-" and (len(sources) > 1 or Path(sources[0]).is_dir()):
        raise InputError("- (standard output) takes one image; expected one file as SRC")
    if dst == "-" and json:
        raise InputError("- (standard output) takes the image, --json too; leave one out")
    if dst == "-" and sys.stdout.isatty():
        raise InputError("standard output is a terminal; send it to a file or a program")


@contextmanager
def _files(sources: list[str], dst: str, format: Format | None) -> Iterator[tuple[list[str], str]]:
    """Sources and destination as files; standard input and output go through temporary ones."""
    if "-" not in (*sources, dst):
        yield sources, dst
        return
    with TemporaryDirectory(prefix="nrpurify-") as folder:
        if sources == ["-"]:
            sources = [str(Path(folder) / "stdin")]
            Path(sources[0]).write_bytes(sys.stdin.buffer.read())
        output = Path(folder) / f"stdout.{format or Format.PNG}"
        yield sources, str(output) if dst == "-" else dst
        if dst == "-" and output.exists():
            sys.stdout.buffer.write(output.read_bytes())
            sys.stdout.buffer.flush()


def _check_exclusive(context: typer.Context) -> None:
    for name in ("purifier", "mode"):
        if is_given(context, name):
            raise InputError(
                f"--defense and --{name} were both given; a defense alone is enough, as in "
                "--defense fast:mode=dynamic"
            )


def _from_server(
    context: typer.Context, server: str, purifier: str
) -> tuple[nn.Module, dict[str, Any]]:
    """A server's purifier, and what to tell about it."""
    for name in ("defense", "mode", "engine", "device", "amp"):
        if is_given(context, name):
            raise InputError(
                f"--server and --{name} were both given; the server was started with its own"
            )
    from nrpurify.serving.client import ServerPurifier
    from nrpurify.serving.settings import read_token

    wanted = purifier if is_given(context, "purifier") else None
    module = ServerPurifier(server, wanted, token=read_token(None))
    return module, module.about


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
