"""``nrpurify attack``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    FramesChoice,
    FramesOption,
    Json,
    MaxPixels,
    NormChoice,
    Overwrite,
    Paths,
    PluginOption,
    Recursive,
    Seed,
    ShardOption,
    eps_option,
    load_plugin_option,
    resolve_amp,
    resolve_device,
    split_paths,
)
from nrpurify.cli.output import finish_folder, note, show_progress, warn_renamed
from nrpurify.core.errors import InputError
from nrpurify.core.image_files import MAX_PIXELS

EXAMPLES = """Examples:

nrpurify attack photos/ attacked/ --name ssp --surrogate vgg16 --eps 16/255

nrpurify attack photos/ attacked/ --layer conv4_3 --layer relu5_2 --eps 8/255 --steps 20

nrpurify attack photos/ attacked/ --name dim-ti --surrogate efficientnet_lite0,squeezenet1_1
--labels images.csv

nrpurify attack photos/ attacked/ --name pgd:steps=40,step_size=2/255

nrpurify attack photos/ attacked/ --name pgd --norm l2 --eps 3.0

nrpurify attack photos/ attacked/ --name cda --eps 8/255"""


def command(
    paths: Paths,
    name: Annotated[
        str,
        typer.Option(
            help="The attack, also with settings: ssp, mi-fgsm, apgd-ce, pgd:steps=40,start=clean"
            " ... See `nrpurify list attacks`."
        ),
    ] = "ssp",
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            help="The attacked network. ssp: vgg16, alexnet, timm:resnet50, FILE.py:FUNCTION ..."
            " Others: classifiers, several of them too; by default efficientnet_lite0."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Where it is attacked (ssp, tap); may be given several times."),
    ] = None,
    eps: Annotated[
        str, typer.Option(help="Budget, as a fraction or a number; 3.0 is usual in ℓ2.")
    ] = "16/255",
    norm: Annotated[
        NormChoice, typer.Option(help="Norm of the budget: linf or l2.")
    ] = NormChoice.LINF,
    preset: Annotated[str, typer.Option(help="Settings of the paper or the authors.")] = "paper",
    steps: Annotated[int | None, typer.Option(min=1, help="Iterations.")] = None,
    step_size: Annotated[
        str | None, typer.Option(help="Step size, as a fraction or a number.")
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(min=1, help="Attempts (apgd-ce, apgd-dlr, square).")
    ] = None,
    trained: Annotated[
        Path | None,
        typer.Option(
            help="A generator (cda) or pattern (fff) of your own, made by `train-attack`;"
            " by default the shipped one."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Without effect, kept for old scripts; --group decides.")
    ] = 1,
    group: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images of one size that the network sees together; changes the last bits of"
            " the result.",
        ),
    ] = 1,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV of true classes (ImageId,TrueLabel from 1 or image,label from 0); without"
            " it, attacks lead away from the classifier's own answers to the clean images."
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(help="CSV of classes to attack toward (ImageId,TargetClass from 1)."),
    ] = None,
    recursive: Recursive = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Attack the first images only, by name.")
    ] = None,
    overwrite: Overwrite = False,
    save_tensors: Annotated[
        bool, typer.Option("--save-tensors", help="Also write unrounded values, NAME.safetensors.")
    ] = False,
    floats: Annotated[bool, typer.Option("--floats", hidden=True)] = False,
    shard: ShardOption = "0/1",
    frames: FramesOption = FramesChoice.REFUSE,
    max_pixels: MaxPixels = MAX_PIXELS,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Attack images into PNG files, keeping names, structure and transparency.

    A folder DST gets a manifest.jsonl with all settings and hashes; files that it does not list
    are never replaced.

    After an interruption the same command continues to the same result.

    Broken files and those without a label are listed at the end, with exit code 1.
    """
    load_plugin_option(plugin)
    from nrpurify.attacks import get
    from nrpurify.batch import MANIFEST, AttackOptions, attack_folder
    from nrpurify.core.opening import set_pixel_limit

    started = time.monotonic()
    if floats:
        warn_renamed("--floats", "--save-tensors")
    set_pixel_limit(max_pixels)
    sources, dst = split_paths(paths)
    if "-" in paths:
        raise InputError("attack reads and writes files; - is for purify")
    options = AttackOptions(
        name=name,
        surrogate=",".join(surrogate) if surrogate else None,
        layers=tuple(layer or ()),
        eps=eps_option(eps, norm=norm.value),
        norm=norm.value,
        preset=preset,
        steps=steps,
        step_size=None if step_size is None else eps_option(step_size, "--step-size", norm.value),
        restarts=restarts,
        trained=trained,
        labels=labels,
        targets=targets,
        batch=batch,
        group=group,
        seed=seed,
        device=resolve_device(device),
        amp=resolve_amp(amp),
    )
    if labels is not None and not get(options.name).labels:
        note(f"{options.name} needs no labels: {labels} is not read")
    elif labels is not None and targets is not None:
        note(f"a targeted attack needs no labels: {labels} is not read")
    with show_progress() as progress:
        result = attack_folder(
            sources,
            dst,
            options,
            recursive=recursive,
            overwrite=overwrite,
            floats=save_tensors or floats,
            frames=frames.value,
            max_pixels=max_pixels,
            limit=limit,
            shard=shard,
            progress=progress,
        )
    if result.change is not None:
        note(f"greatest change in the 8-bit files: {255 * result.change:.2f}/255")
    for text in result.notes:
        note(text)
    details = {
        "seconds": round(time.monotonic() - started, 2),
        "linf": result.change,
        "notes": result.notes,
        "manifest": str(Path(dst) / MANIFEST) if Path(dst).is_dir() else None,
    }
    finish_folder(result, "attacked", details, json)
