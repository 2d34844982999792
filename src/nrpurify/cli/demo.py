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
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import note, note_precision, print_json, progress_bar
from nrpurify.cli.plans import PlanProgress, show_accuracy

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
    from nrpurify.cli.demo_run import demo_plan, run_demo

    plan = replace(demo_plan(), seed=seed, amp=resolve_amp(amp))
    with progress_bar() as progress:
        result = run_demo(
            out, plan=plan, device=resolve_device(device), progress=PlanProgress(progress)
        )
    if json:
        print_json(result)
    else:
        show_accuracy(result)
    note_precision(result["settings"], "attack and purifier")
    note(f"report: {out / 'report.html'}")
