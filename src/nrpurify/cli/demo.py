"""``nrpurify demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    Json,
    Seed,
    note,
    note_precision,
    progress_bar,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.evaluate import show_accuracy

EXAMPLES = """Examples:

nrpurify demo

nrpurify demo --out out/again --seed 1 --json"""


def command(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("out/demo"),
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    json: Json = False,
) -> None:
    """Attack, purify and classify 20 real photographs, and write a report with pictures.

    OUT gets report.html and results.json. Weights are fetched at the first run.
    """
    from nrpurify.cli.demo_run import PLAN, run_demo

    plan = replace(PLAN, seed=seed, device=resolve_device(device), amp=resolve_amp(amp))
    with progress_bar() as progress:
        task = progress.add_task("demo", total=None)
        result = run_demo(
            out,
            plan=plan,
            watch=lambda done, total: progress.update(task, completed=done, total=total),
        )
    show_accuracy(result, json)
    note_precision(result["settings"], "attack and purifier")
    note(f"report: {out / 'report.html'}")
