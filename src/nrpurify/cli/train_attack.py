"""``nrpurify train-attack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import Device, Json, RecipeSeed, ResumeRun, resolve_device
from nrpurify.cli.output import note, print_json, show_progress

EXAMPLES = """Examples:

nrpurify train-attack cda photos/ --out runs/cda

nrpurify attack photos/ attacked/ --name cda --trained runs/cda/generator.safetensors

nrpurify train-attack fff --out fff.safetensors --recipe fff-paper"""

app = typer.Typer(no_args_is_help=True, help="Train the attacks that learn: cda and fff.")

Steps = Annotated[int | None, typer.Option(min=1, help="Number of steps.")]


@app.command(
    "cda",
    epilog="""Examples:

nrpurify train-attack cda photos/ --out runs/cda

nrpurify train-attack cda photos/ --out runs/cda --resume""",
)
def train_cda(
    photos: Annotated[
        Path, typer.Argument(help="Folder of photos, searched recursively; needs no labels.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/cda"),
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a file.")] = "cda-small",
    resume: ResumeRun = False,
    steps: Steps = None,
    seed: RecipeSeed = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Train a generator of adversarial images from photos without labels (CDA).

    OUT gets generator.safetensors with its card, a log and checkpoints.

    After an interruption --resume goes on, to the same result.
    """
    import torch

    from nrpurify.training import CdaRecipe, CdaRun

    plan = CdaRecipe.load(recipe, steps=steps, seed=seed)
    with show_progress() as progress:
        run = CdaRun(plan, photos, out, torch.device(resolve_device(device)), progress)
        file = run.execute(resume=resume)
    note(f"{plan.steps} steps in {run.seconds:.0f} s: {file}")
    if json:
        seconds = round(run.seconds, 1)
        result = {"generator": str(file), "steps": plan.steps, "seconds": seconds}
        print_json({**result, "metrics": run.metrics})


@app.command(
    "convert",
    epilog="Example:\n\nnrpurify train-attack convert netG_0.pth --out cda-mine.safetensors",
)
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="A generator of CDA's authors (.pth).")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("cda.safetensors"),
    json: Json = False,
) -> None:
    """Convert a generator that CDA's authors published, for --trained."""
    from nrpurify.attacks.convert import convert_generator

    card = convert_generator(source, out, name=out.stem)
    note(f"{card.arguments['blocks']} residual blocks: {out}")
    if json:
        print_json({"generator": str(out), **card.arguments, "sha256": card.sha256})


@app.command(
    "fff",
    epilog="Example:\n\nnrpurify train-attack fff --out fff.safetensors --recipe fff-paper",
)
def train_fff(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("fff.safetensors"),
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a file.")] = "fff",
    steps: Steps = None,
    seed: RecipeSeed = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Make one perturbation for all images from a network alone, without photos (FFF)."""
    from nrpurify.training import FffRecipe, make_fff

    plan = FffRecipe.load(recipe, steps=steps, seed=seed)
    with show_progress() as progress:
        card = make_fff(plan, out, device=resolve_device(device), progress=progress)
    done, seconds = card.training["steps_done"], card.training["seconds"]
    note(f"{done} steps in {seconds} s: {out}")
    if json:
        result = {"pattern": str(out), "steps": done, "seconds": seconds}
        print_json({**result, "metrics": card.metrics})
