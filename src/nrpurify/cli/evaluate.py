"""``nrpurify evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nrpurify.cli.common import (
    PLAN_HELP,
    AmpChoice,
    AmpOption,
    Classes,
    Device,
    Json,
    Labels,
    Limit,
    PluginOption,
    Seed,
    Trained,
    TrustPlan,
    is_given,
    load_plugin_option,
    resolve_device,
)
from nrpurify.cli.evaluate_plan import flag, plan_of
from nrpurify.cli.plans import is_json, run_and_show
from nrpurify.core.errors import InputError

EXAMPLES = """Examples:

nrpurify evaluate images/ --labels images.csv --eps 16/255 --out results.json

nrpurify evaluate one-folder-per-class/ --victims squeezenet1_1,timm:resnet50 --out runs/mine

nrpurify evaluate val2017/ --task detect --annotations instances_val2017.json --attack ssp,cda
--eps 8/255,16/255 --defense fast --defense jpeg:quality=75 --out runs/detect

nrpurify evaluate camvid/test/ --task segment --masks camvid/testannot/ --out runs/segment

nrpurify evaluate --plan my.yaml --out runs/mine --resume"""

_WITH_PLAN = frozenset(
    {"folder", "labels", "classes", "limit", "trained", "out", "resume", "seed", "device", "amp"}
    | {"plan", "plugin", "trust_plan", "json"}
)
"""Options that go with ``--plan``; the plan has all others."""


def command(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Images, or one sub-folder for each class.", show_default=False
        ),
    ] = None,
    plan: Annotated[str | None, typer.Option(metavar="PLAN", help=PLAN_HELP)] = None,
    labels: Labels = None,
    classes: Classes = None,
    victims: Annotated[
        str | None,
        typer.Option(help="Several --victim, with commas between.", show_default=False),
    ] = None,
    task: Annotated[str, typer.Option(help="See `nrpurify list tasks`.")] = "classify",
    annotations: Annotated[
        Path | None,
        typer.Option(help="detect, instances: a COCO JSON file, or a folder of YOLO text files."),
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="segment: a folder of class masks.")] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(
            help="A model: a name, torchvision:NAME, timm:NAME, python:MODULE:FUNCTION or"
            " FILE.py:FUNCTION. May be repeated.",
            show_default="the task's",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="The metric. May be repeated.",
            show_default=False,
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="The attack; tasks take several.",
            show_default="ssp",
        ),
    ] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            help="The network that the attack works on; attacks on classifiers take several.",
            show_default="vgg16 for ssp",
        ),
    ] = None,
    targeted: Annotated[
        bool,
        typer.Option(
            "--targeted",
            help="Attack toward a class drawn for each image, and count how often it is reached.",
        ),
    ] = False,
    layer: Annotated[
        str | None, typer.Option(help="Its layer (ssp, tap).", show_default="vgg16's conv3_3")
    ] = None,
    preset: Annotated[str, typer.Option(help="paper or authors.")] = "paper",
    norm: Annotated[str, typer.Option(help="Norm of eps: linf, l2.")] = "linf",
    eps: Annotated[
        str,
        typer.Option(help="Budget; tasks take several with commas."),
    ] = "16/255",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="The attack's iterations.", show_default="the preset's, 100 for ssp"
        ),
    ] = None,
    step_size: Annotated[
        str | None, typer.Option(help="Its step, as a fraction or a number.")
    ] = None,
    trained: Trained = None,
    attacked: Annotated[Path | None, typer.Option(help="Attacked images made before.")] = None,
    uint8: Annotated[
        bool,
        typer.Option("--uint8/--float", help="Round attacked images to 8 bits first, or not."),
    ] = True,
    purifier: Annotated[str, typer.Option(help="A shipped purifier's name, or a file.")] = "fast",
    defense: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as jpeg:quality=75. May be repeated.",
            show_default=False,
        ),
    ] = None,
    longest: Annotated[
        int | None, typer.Option(min=1, help="detect, instances: scale down to this side.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Do what is missing in --out.")] = False,
    size: Annotated[int, typer.Option(min=16, help="Side of the images in pixels.")] = 224,
    limit: Limit = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images read at a time.")] = None,
    group: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images a network sees together; changes last bits.",
            show_default="4",
        ),
    ] = None,
    check_labels: Annotated[
        bool, typer.Option(help="Refuse labels that contradict the victims' answers.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="A file X.json, or the folder of a run that `report` reads."),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    trust_plan: TrustPlan = False,
    json: Json = False,
) -> None:
    """Measure models on labeled images: clean, attacked, and behind each defense.

    Classifiers by default; detectors, segmenters and models of plug-ins with --task. With --plan,
    run a YAML plan.
    """
    load_plugin_option(plugin)
    given = {name for name in context.params if is_given(context, name)}
    options = context.params
    if resume and (out is None or is_json(out)):
        raise InputError("--resume goes on in the folder of a run; give it by --out")
    if plan is not None:
        _run_plan(plan, given, options)
        return
    if folder is None:
        raise InputError("no folder of images was given; give one, or a plan by --plan")
    made = plan_of(folder, given, options)
    run_and_show(made, out, as_json=json, resume=resume, device=resolve_device(device))


def _run_plan(plan: str, given: set[str], options: Mapping[str, Any]) -> None:
    """Run ``--plan`` with what the command line changes of it."""
    from nrpurify.cli.grid import run_plan_file

    if other := sorted(given - _WITH_PLAN):
        raise InputError(f"{flag(other[0])} does not go with --plan; write it in the plan")
    run_plan_file(
        plan,
        options["out"],
        images=options["folder"],
        labels=options["labels"],
        classes=options["classes"],
        limit=options["limit"],
        trained=options["trained"] or (),
        seed=options["seed"] if "seed" in given else None,
        amp=options["amp"] if "amp" in given else None,
        resume=options["resume"],
        device=options["device"],
        plugin=options["plugin"] or (),
        trust_plan=options["trust_plan"],
        as_json=options["json"],
    )
