"""``nrpurify serve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    PluginOption,
    Seed,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import note
from nrpurify.core.errors import MissingExtraError

EXAMPLES = """Examples:

nrpurify serve

nrpurify serve --victim efficientnet_lite0 --victim efficientnet_lite1

nrpurify serve --purifier fast --purifier mild=jpeg:quality=75 --no-attack

nrpurify serve --host 0.0.0.0 --token-file token.txt --workers 4 --log-format json"""
_SHOWN = ["efficientnet_lite0"]
"""The victims of the page, unless others are given."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class LogFormatChoice(StrEnum):
    """What ``--log-format`` takes."""

    TEXT = "text"
    JSON = "json"


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    purifier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]SPEC",
            help="A purifier, another defense or a chain. May be given several times.",
            show_default="fast",
        ),
    ] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]SPEC",
            help="A classifier, coco_ssd or centernet. May be given several times.",
            show_default="efficientnet_lite0 with --attack, else none",
        ),
    ] = None,
    attack: Annotated[
        bool, typer.Option("--attack/--no-attack", help="Whether /v1/attack exists.")
    ] = True,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a copy of the models.")
    ] = 1,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File of the bearer token that requests need.",
            show_default="the environment's NRPURIFY_SERVE_TOKEN, else no token",
        ),
    ] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest upload.")] = 20 * 2**20,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest image, height times width.")
    ] = 16_000_000,
    places: Annotated[
        int, typer.Option(min=1, help="Requests at work or waiting; more get 503.")
    ] = 64,
    upload_seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest time for an upload; then 408.")
    ] = 30.0,
    answer_seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest time to an answer; then 504.")
    ] = 60.0,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images of one size that go through the purifier together.",
            show_default="1 on a CPU, else 8",
        ),
    ] = None,
    log_format: Annotated[
        LogFormatChoice, typer.Option("--log-format", help="json: one object a line.")
    ] = LogFormatChoice.TEXT,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
) -> None:
    """Serve purifiers over HTTP, with a page that shows what they do to a photograph.

    Requests choose among the names that are given here; they can give no spec and no path.

    It stops on Ctrl-C or SIGTERM, after it has answered what it took.
    """
    try:
        from nrpurify.serving.run import run_server
        from nrpurify.serving.settings import ServeSettings, by_name
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
            raise
        raise MissingExtraError(error.name, "serve") from error
    load_plugin_option(plugin)
    where = resolve_device(device)
    settings = ServeSettings(
        purifiers=by_name(purifier or ["fast"], "purifier"),
        victims=by_name(victim or (_SHOWN if attack else []), "victim"),
        attack=attack,
        device=where,
        amp=resolve_amp(amp),
        seed=seed,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        waiting_pixels=max(ServeSettings.waiting_pixels, max_pixels),
        upload_memory=max(ServeSettings.upload_memory, 2 * max_bytes),
        places=places,
        upload_seconds=upload_seconds,
        answer_seconds=answer_seconds,
        batch=batch or (1 if where == "cpu" else 8),
    )
    if host not in _LOOPBACK:
        note(
            "the server can be reached from other machines; protect it by a token and TLS, as "
            "docs/operations.md describes"
        )
    run_server(
        settings,
        host=host,
        port=port,
        workers=workers,
        token_file=token_file,
        log_format=log_format.value,
        plugins=plugin,
        started=lambda address: note(f"serving on {address}; models are being loaded"),
    )
