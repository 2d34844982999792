"""``nrpurify train``."""

from __future__ import annotations

import time
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from nrpurify.cli.common import Device, Json, note, print_json, progress_bar, resolve_device
from nrpurify.cli.overrides import change_recipe
from nrpurify.core.errors import InputError

EXAMPLES = """Examples:

nrpurify train --data photos/ --recipe smoke

nrpurify train --data photos/ --recipe fast

nrpurify train --data photos/ --recipe fast --out runs/mine --resume

nrpurify train --data photos/ --recipe fast --out runs/mine --resume --steps 20000

nrpurify train --data photos/ --recipe paper --set optimization.lr=2e-4 --set losses.gan=vanilla"""


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before it is known."""
        return Text(f"{task.speed:.2f}/s" if task.speed else "")


LINE_EVERY = 30.0
"""Seconds between two lines of one kind where there is no terminal for a progress bar."""


class TrainingProgress:
    """Shows a run: the adversary cache, the steps with their loss, and each validation.

    Without a terminal it prints the first and the last step, and one in between each
    :data:`LINE_EVERY` seconds.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._starts: dict[str, tuple[float, int]] = {}
        self._printed = 0.0

    def _update(self, name: str, done: int, total: int, info: str = "") -> None:
        if self.progress.disable:
            self._line(name, done, total, info)
            return
        if name not in self._tasks:
            task = self.progress.add_task(name, total=total, completed=done - 1, info="")
            self._tasks[name] = task
        self.progress.update(self._tasks[name], completed=done, total=total, info=info)

    def _line(self, name: str, done: int, total: int, info: str) -> None:
        now = time.monotonic()
        is_first = name not in self._starts
        if not (is_first or done == total or now - self._printed >= LINE_EVERY):
            return
        start, before = self._starts.setdefault(name, (now, done))
        left = (now - start) / (done - before) * (total - done) if done > before else 0.0
        time_left = f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"
        parts = [f"{name} {done}/{total}", info, time_left if left else ""]
        self._print(", ".join(part for part in parts if part))
        self._printed = now

    def _print(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def cached(self, done: int, wanted: int) -> None:
        """Another shard of adversaries is there."""
        self._update("adversaries", done, wanted)

    def stepped(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step is done."""
        self._update("train", step, steps, f"loss {values['loss']:.4f}")

    def gated(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step of the gate's training is done."""
        self._update("gate", step, steps, f"loss {values['loss']:.4f}")

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        """A validation is done."""
        text = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        self._print(f"step {step}: {text}")


def command(
    data: Annotated[
        Path | None, typer.Option(help="Folder of photos, searched recursively; needs no labels.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a file.")] = "fast",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    warm_start: Annotated[
        str | None,
        typer.Option(help="A purifier of the same design, or one that can grow, to begin from."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Number of steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Start of everything random.")] = None,
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
    json: Json = False,
) -> None:
    """Train a purifier on a folder of photos, without labels (Algorithm 2 of the paper).

    OUT gets purifier.safetensors with its model card, a log and checkpoints.

    After an interruption --resume goes on, to the same result.

    With more steps than before it extends a run, by the longer schedule of learning rates.
    """
    if list_recipes:
        _list_recipes(json)
        return
    if data is None:
        raise InputError("--data is missing; give a folder of photos")
    assignments = [*(changes or [])]
    assignments += [f"{k}={v}" for k, v in (("steps", steps), ("seed", seed)) if v is not None]
    folder = out or Path("runs") / Path(recipe).stem
    place = resolve_device(device)
    result = _train(data, folder, recipe, assignments, place, resume, warm_start, loader_threads)
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
) -> dict[str, Any]:
    import torch

    from nrpurify.training import Run, load_recipe

    plan = load_recipe(recipe)
    if assignments:
        plan = change_recipe(plan, assignments)
    with progress_bar(RateColumn(), TextColumn("{task.fields[info]}")) as progress:
        watcher = TrainingProgress(progress)
        run = Run(plan, data, folder, torch.device(device), watcher, loader_threads)
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
    from nrpurify.training import shipped_recipes

    recipes = {name: _about(path) for name, path in shipped_recipes().items()}
    if as_json:
        print_json([{"name": name, "about": about} for name, about in recipes.items()])
        return
    for name, about in recipes.items():
        typer.echo(f"{name}: {about}")


def _about(path: Path) -> str:
    """The comment at the head of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in takewhile(lambda x: x.startswith("#"), lines))
