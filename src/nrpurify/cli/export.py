"""``nrpurify export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import Json, PluginOption, load_plugin_option
from nrpurify.cli.output import note, print_json, print_table

EXAMPLES = """Examples:

nrpurify export fast --out fast.onnx

nrpurify export fast:coarse=1,fine=1 --format openvino --out gentle.xml

nrpurify export runs/mine/purifier.safetensors --model timm:resnet50 --out protected.onnx"""


class Format(StrEnum):
    """What ``--format`` takes."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    PT2 = "pt2"


def command(
    purifier: Annotated[
        str, typer.Argument(help="A shipped purifier's name, a checkpoint file, or a spec of one.")
    ],
    out: Annotated[
        Path, typer.Option(help="The file: .onnx, .xml (OpenVINO, with a .bin beside it) or .pt2.")
    ],
    format: Annotated[Format | None, typer.Option(show_default="the suffix of OUT")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="A classifier behind the purifier, in the same file, which then returns logits.",
            show_default="the file returns images",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(metavar="[fp32|fp16]", help="Arithmetic; fp16 is for ONNX files on GPUs."),
    ] = "fp32",
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Write a purifier, with its strength and gate, to one file for images of any size.

    The file is compared with the eager purifier at several batches and sides.

    Where they differ, that is an error and no file is left.
    """
    load_plugin_option(plugin)
    from nrpurify.export import export

    wanted = None if format is None else format.value
    made = export(purifier, out, format=wanted, model=model, precision=precision)
    if json:
        print_json(made.to_dict())
        return
    rows = [[str(one), f"{one.difference:.5f}"] for one in made.parity]
    print_table(["images", f"largest difference, {made.unit}"], rows)
    note(f"{made.path}: {made.format}, {made.size / 1e6:.1f} MB, in {made.seconds:.0f} s")
