"""``nrpurify grid``: ``evaluate --plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
    PLAN_HELP,
    AmpChoice,
    Classes,
    Device,
    Json,
    Labels,
    Limit,
    PlanSeed,
    PluginOption,
    Trained,
    TrustPlan,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.plans import run_and_show
from nrpurify.core.errors import InputError

if TYPE_CHECKING:
    from nrpurify.data.labels import LabeledImage
    from nrpurify.evaluation import EvaluationPlan

EXAMPLES = """Examples:

nrpurify grid quick --out runs/quick

nrpurify grid my.yaml --out runs/mine --shared   # the same on as many machines as there are

nrpurify grid my.yaml --out runs/mine --images photos/ --labels photos.csv --resume"""


def command(
    recipe: Annotated[str, typer.Argument(metavar="PLAN", help=PLAN_HELP)],
    out: Annotated[Path, typer.Option(metavar="RUN_DIR", help="Folder of the run.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is finished in RUN_DIR and do the rest.")
    ] = False,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="Measure together with other processes that run this in RUN_DIR."
        ),
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Images, in place of the plan's folder.")
    ] = None,
    labels: Labels = None,
    classes: Classes = None,
    limit: Limit = None,
    trained: Trained = None,
    seed: PlanSeed = None,
    device: Device = None,
    amp: Annotated[
        AmpChoice | None,
        typer.Option(
            "--amp",
            help="bf16 arithmetic; auto: where the hardware has it.",
            show_default="the plan's",
        ),
    ] = None,
    plugin: PluginOption = None,
    trust_plan: TrustPlan = False,
    json: Json = False,
) -> None:
    """Measure attacks x eps x defenses x victims from one plan: evaluate --plan.

    RUN_DIR gets run.json, plan.yaml and all attacked images. Images that cannot be read are
    left out and listed, with exit code 1. A plan without a folder of images
    takes the demo's 20 photographs.
    """
    load_plugin_option(plugin)
    run_plan_file(
        recipe,
        out,
        images=images,
        labels=labels,
        classes=classes,
        limit=limit,
        trained=trained or (),
        seed=seed,
        amp=amp,
        resume=resume,
        shared=shared,
        device=device,
        plugin=plugin or (),
        trust_plan=trust_plan,
        as_json=json,
    )


def run_plan_file(
    source: str,
    out: Path | None,
    *,
    images: Path | None,
    labels: Path | None,
    classes: Path | None,
    limit: int | None,
    trained: Sequence[str],
    seed: int | None,
    amp: AmpChoice | None,
    resume: bool,
    shared: bool = False,
    device: str | None,
    plugin: Sequence[str],
    trust_plan: bool,
    as_json: bool,
) -> None:
    """Run a plan of a file, with what the command line changes of it."""
    from nrpurify.core.plugins import check_trusted
    from nrpurify.evaluation import read_plan

    plan, marks = read_plan(source)
    check_trusted(plan.to_dict(), plugin, trust_all=trust_plan)
    plan = _changed(plan, images, labels, classes, limit, seed)
    plan = _with_trained(plan, trained)
    if amp is not None:
        plan = replace(plan, amp=resolve_amp(amp))
    items = None
    if not plan.data.folder and plan.task == "classify":
        items = _demo_photos(plan.data.limit)
    with marks.naming_lines():
        run_and_show(
            plan,
            out,
            as_json=as_json,
            items=items,
            resume=resume,
            shared=shared,
            device=resolve_device(device),
        )


def _changed(
    plan: EvaluationPlan,
    images: Path | None,
    labels: Path | None,
    classes: Path | None,
    limit: int | None,
    seed: int | None,
) -> EvaluationPlan:
    given: dict[str, Any] = {}
    tables = {"labels": labels, "classes": classes}
    for name, file in tables.items():
        if file is not None and images is None and not plan.data.folder:
            raise InputError(f"--{name} {file} goes with images; give their folder by --images")
    if images is not None:
        given = {"folder": str(images), "labels": "", "classes": ""}
    given |= {name: str(file) for name, file in tables.items() if file is not None}
    if limit is not None:
        given["limit"] = limit
    changed = plan.with_data(**given)
    return changed if seed is None else replace(changed, seed=seed)


def _with_trained(plan: EvaluationPlan, given: Sequence[str]) -> EvaluationPlan:
    """The plan with files for those of its trained attacks that name none."""
    from nrpurify.attacks.trained import read_trained

    files = read_trained(given)
    if idle := sorted(files.keys() - {a.name for a in plan.attacks if not a.trained}):
        raise InputError(f"--trained names {idle[0]}; no attack of the plan can take it")
    attacks = [
        replace(a, trained=str(files[a.name])) if a.name in files and not a.trained else a
        for a in plan.attacks
    ]
    return replace(plan, attacks=tuple(attacks)) if files else plan


def _demo_photos(limit: int | None) -> list[LabeledImage]:
    from nrpurify.data.demo import foolbox_photos

    return foolbox_photos()[:limit]
