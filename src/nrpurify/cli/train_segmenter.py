"""``nrpurify train-segmenter``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import Device, Json, RecipeSeed, ResumeRun, resolve_device
from nrpurify.cli.output import note, print_json, show_progress
from nrpurify.core.errors import InputError

EXAMPLES = """Examples:

nrpurify train-segmenter camvid/ --out runs/segnet

nrpurify train-segmenter camvid/ --out runs/segnet --resume

nrpurify train-segmenter camvid/ --images train --masks trainannot --recipe mine.yaml"""


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Holds a folder of images and one of masks.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/segnet"),
    images: Annotated[str, typer.Option(help="The images' folder in DIR.")] = "train",
    masks: Annotated[str, typer.Option(help="The masks' folder in DIR.")] = "trainannot",
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings.", show_default="that of docs/tasks.md"),
    ] = None,
    resume: ResumeRun = False,
    warm_start: Annotated[
        Path | None, typer.Option(help="A trained SegNet-Basic to begin from.")
    ] = None,
    seed: RecipeSeed = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Train SegNet-Basic on images with class masks in the manner of CamVid (11 is void).

    OUT gets segmenter.safetensors with its model card, a log and a resumable state.
    """
    from nrpurify.training import SegNetRecipe, train_segnet

    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder; give the one above images and masks")
    plan = SegNetRecipe() if recipe is None else SegNetRecipe.load(recipe)
    if seed is not None:
        plan = replace(plan, seed=seed)
    with show_progress() as progress:
        file = train_segnet(
            folder / images,
            folder / masks,
            out,
            plan,
            device=resolve_device(device),
            resume=resume,
            warm_start=warm_start,
            progress=progress,
        )
    note(f"{plan.steps} steps: {file}")
    if json:
        print_json({"segmenter": str(file), "steps": plan.steps})
