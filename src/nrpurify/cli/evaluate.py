"""``nrpurify evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
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
    eps_option,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.plans import is_json, run_and_show
from nrpurify.core.errors import InputError
from nrpurify.core.spec import quoted, split_specs

if TYPE_CHECKING:
    from nrpurify.evaluation import EvaluationPlan, PlannedAttack, Task

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
"""Options that go with ``--plan``; the plan says all else."""
_TARGETED = ("accuracy", "targeted-success")
_MAKING = ("attack", "targeted", "layer", "preset", "step_size", "steps", "surrogate", "trained")
"""Options that make attacked images."""


def command(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Images, or one sub-folder for each class.", show_default=False
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="A YAML file, or a shipped plan: quick.")
    ] = None,
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
            help="What is counted. May be repeated.",
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
    norm: Annotated[str, typer.Option(help="Of eps: linf, l2.")] = "linf",
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
        bool, typer.Option(help="Refuse labels that the victims' answers to the first images deny.")
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
    all that a YAML file plans.
    """
    load_plugin_option(plugin)
    given = {name for name in context.params if _was_given(context, name)}
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


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _run_plan(plan: str, given: set[str], options: Mapping[str, Any]) -> None:
    """Run ``--plan`` with what the command line changes of it."""
    from nrpurify.cli.grid import run_plan_file

    if other := sorted(given - _WITH_PLAN):
        raise InputError(f"{_flag(other[0])} does not go with --plan; write it in the plan")
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


def plan_of(folder: Path, given: set[str], options: Mapping[str, Any]) -> EvaluationPlan:
    """The plan of a command.

    Args:
        folder: The images.
        given: The options that were written on the command line.
        options: The values of all options.

    Raises:
        InputError: Options that do not go together, or that the task does not take.
    """
    from nrpurify.evaluation import DataSpec, EvaluationPlan
    from nrpurify.evaluation.tasks import TASKS

    task = TASKS.create(options["task"])
    _check_options(task, given)
    names = [one.name for one in fields(DataSpec) if one.name in given]
    data = DataSpec(str(folder), **{n: _plain(options[n]) for n in names if n != "folder"})
    behind = [*(options["defense"] or ())]
    if "purifier" in given or not behind:
        behind.insert(0, quoted(options["purifier"]))
    amounts = {name: options[name] for name in ("batch", "group") if options[name] is not None}
    return EvaluationPlan(
        data,
        (*split_specs(options["victims"] or ""), *(options["victim"] or ())),
        tuple(_attacks(task, given, options)),
        tuple(dict.fromkeys(("none", *behind))),
        options["task"],
        tuple(options["metric"] or (_TARGETED if options["targeted"] else ())),
        name=f"{task.name}-{folder.name}",
        title=f"{task.name} on {folder.name}",
        seed=options["seed"],
        rounding="uint8" if options["uint8"] else "float",
        amp=resolve_amp(options["amp"]),
        **amounts,
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _attacks(task: Task, given: set[str], options: Mapping[str, Any]) -> list[PlannedAttack]:
    from nrpurify.attacks.trained import read_trained
    from nrpurify.evaluation import PlannedAttack
    from nrpurify.evaluation.plan_checks import distance
    from nrpurify.evaluation.simple import simple_attack

    norm = options["norm"]
    budgets = [
        eps_option(text) if norm != "l2" else distance(text, norm)
        for text in options["eps"].split(",")
    ]
    if options["attacked"] is not None:
        eps = tuple(budgets) if "eps" in given else ()
        return [PlannedAttack(eps=eps, attacked=str(options["attacked"]))]
    specs = one_attack(options["attack"]) if task.class_labels else _several(options["attack"])
    files = read_trained(options["trained"] or ())
    chosen = {spec.partition(":")[0] for spec in specs}
    if idle := sorted(files.keys() - chosen):
        attacks = ", ".join(sorted(chosen))
        raise InputError(f"--trained names {idle[0]}; the attack is {attacks}")
    if task.class_labels and len(budgets) > 1:
        raise InputError(
            f"--eps is {options['eps']}; --task {task.name} takes one, a plan several (--plan)"
        )
    step = options["step_size"]
    return [
        simple_attack(
            spec,
            tuple(dict.fromkeys(budgets)),
            surrogate=",".join(options["surrogate"]) if options["surrogate"] else None,
            layer=options["layer"],
            preset=options["preset"],
            norm=norm,
            toward_random=options["targeted"],
            trained=files.get(spec.partition(":")[0]),
            skip_unknown=not task.class_labels,
            steps=options["steps"],
            step_size=None if step is None else eps_option(step, "--step-size"),
        )
        for spec in dict.fromkeys(specs)
        if spec != "none"
    ]


def _several(names: Sequence[str] | None) -> list[str]:
    return [spec for text in names or ("ssp",) for spec in split_specs(text)]


def one_attack(names: Sequence[str] | None) -> list[str]:
    """The one attack of ``--task classify``.

    Raises:
        InputError: Several were given.
    """
    found = _several(names)
    if len(found) > 1:
        raise InputError(
            f"--attack is {', '.join(found)}; --task classify takes one, a plan several (--plan)"
        )
    return found


def _check_options(task: Task, given: set[str]) -> None:
    """Refuse options that belong to another task, and the making of what is made before.

    Raises:
        InputError: One was given; the message names it and the tasks that take it.
    """
    from nrpurify.evaluation import DataSpec
    from nrpurify.evaluation.tasks import TASKS

    own = {one.name for one in fields(DataSpec)} - {"folder", "limit"}
    for name in sorted(given & own):
        if name not in task.takes:
            others = [one for one in TASKS.names() if name in TASKS.create(one).takes]
            raise InputError(
                f"{_flag(name)} does not belong to --task {task.name}; it goes with --task "
                f"{' or '.join(others)}"
            )
    for name in sorted(given & {"batch", "group"}):
        if not task.one_size:
            raise InputError(
                f"{_flag(name)} does not belong to --task {task.name}, whose images go one by one"
            )
    making = sorted(given & set(_MAKING))
    if "attacked" in given and making:
        raise InputError(
            f"{_flag(making[0])} does not go with --attacked, whose images are made; leave one of "
            "them out"
        )
    for name, meaning in task.needs.items():
        if name not in given:
            raise InputError(f"{task.name} needs {name}: {meaning}")
