"""``nrpurify train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from nrpurify.cli.common import (
    Device,
    Json,
    PluginOption,
    RecipeSeed,
    ResumeRun,
    TrustPlan,
    load_plugin_option,
    resolve_device,
)
from nrpurify.cli.output import note, print_json, show_progress
from nrpurify.core.errors import InputError

EXAMPLES = """Examples:

nrpurify train --data photos/ --recipe smoke

nrpurify train --data photos/ --recipe fast

nrpurify train --data photos/ --recipe fast --out runs/mine --resume

nrpurify train --data photos/ --recipe fast --out runs/mine --resume --steps 20000

nrpurify train --data photos/ --recipe paper --set optimization.lr=2e-4 --set losses.gan=vanilla"""


def command(
    data: Annotated[
        Path | None, typer.Option(help="Folder of photos, searched recursively; needs no labels.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a file.")] = "fast",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    resume: ResumeRun = False,
    warm_start: Annotated[
        str | None,
        typer.Option(help="A purifier of the same design, or one that can grow, to begin from."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Number of steps.", rich_help_panel="Options")
    ] = None,
    seed: RecipeSeed = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe."),
    ] = None,
    loader_threads: Annotated[
        int,
        typer.Option(min=0, help="Threads that read photos ahead; results do not depend on them."),
    ] = 2,
    list_recipes: Annotated[
        bool, typer.Option("--list", help="List the shipped recipes and end.")
    ] = False,
    device: Device = None,
    plugin: PluginOption = None,
    trust_plan: TrustPlan = False,
    json: Json = False,
) -> None:
    """Train a purifier on a folder of photos, without labels (Algorithm 2 of the paper).

    OUT gets purifier.safetensors with its model card, a log and checkpoints.

    After an interruption --resume goes on, to the same result.

    With more steps than before it extends a run, by the longer schedule of learning rates.
    """
    load_plugin_option(plugin)
    if list_recipes:
        _list_recipes(json)
        return
    if data is None:
        raise InputError("--data is missing; give a folder of photos")
    assignments = [*(changes or [])]
    assignments += [f"{k}={v}" for k, v in (("steps", steps), ("seed", seed)) if v is not None]
    folder = out or Path("runs") / Path(recipe).stem
    place = resolve_device(device)
    trusted = None if trust_plan else plugin or ()
    result = _train(
        data, folder, recipe, assignments, place, resume, warm_start, loader_threads, trusted
    )
    if json:
        print_json(result)


def _train(
    data: Path,
    folder: Path,
    recipe: str,
    assignments: list[str],
    device: str,
    resume: bool,
    warm_start: str | None,
    loader_threads: int,
    trusted: Sequence[str] | None,
) -> dict[str, Any]:
    import torch

    from nrpurify.cli.overrides import change_recipe
    from nrpurify.core.plugins import check_trusted
    from nrpurify.training import PurifierRun, load_recipe

    plan = load_recipe(recipe)
    check_trusted(asdict(plan), trusted or (), trust_all=trusted is None)
    if assignments:
        plan = change_recipe(plan, assignments)
    with show_progress() as progress:
        run = PurifierRun(plan, data, folder, torch.device(device), progress, loader_threads)
        file = run.execute(resume=resume, warm_start=warm_start)
    gate = f", {plan.gate.steps} of the gate," if plan.gated else ""
    note(f"{plan.steps} steps{gate} in {run.seconds:.0f} s: {file}")
    return {
        "purifier": str(file),
        "steps": plan.steps,
        "gate_steps": plan.gate.steps if plan.gated else 0,
        "seconds": round(run.seconds, 1),
        "metrics": run.metrics,
    }


def _list_recipes(as_json: bool) -> None:
    from nrpurify.training import Recipe

    recipes = {name: _about(path) for name, path in Recipe.shipped().items()}
    if as_json:
        print_json([{"name": name, "about": about} for name, about in recipes.items()])
        return
    for name, about in recipes.items():
        typer.echo(f"{name}: {about}")


def _about(path: Path) -> str:
    """The comment at the head of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in takewhile(lambda x: x.startswith("#"), lines))
