"""``nrpurify evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
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
    eps_option,
    load_plugin_option,
    note,
    note_precision,
    print_json,
    print_table,
    progress_bar,
    resolve_amp,
    resolve_device,
)
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable, write_json
from nrpurify.core.spec import split_specs

if TYPE_CHECKING:
    from nrpurify.tasks.plan import TaskPlan

EXAMPLES = """Examples:

nrpurify evaluate images/ --labels images.csv --eps 16/255 --out results.json

nrpurify evaluate one-folder-per-class/ --victims squeezenet1_1,timm:resnet50 --limit 100

nrpurify evaluate val2017/ --task detect --annotations instances_val2017.json --attack ssp,cda
--eps 8/255,16/255 --defense fast --defense jpeg:quality=75 --out runs/detect

nrpurify evaluate camvid/test/ --task segment --masks camvid/testannot/ --out runs/segment"""


class TaskChoice(StrEnum):
    """What ``--task`` takes."""

    CLASSIFY = "classify"
    DETECT = "detect"
    INSTANCES = "instances"
    SEGMENT = "segment"


Task = Annotated[TaskChoice, typer.Option(help="classify, detect, instances or segment.")]
Annotations = Annotated[
    Path | None,
    typer.Option(help="detect, instances: a COCO JSON file, or a folder of YOLO text files."),
]
Masks = Annotated[Path | None, typer.Option(help="segment: a folder of class masks.")]
Victim = Annotated[
    list[str] | None,
    typer.Option(
        help="The model: a name, torchvision:NAME, timm:NAME, python:MODULE:FUNCTION or"
        " FILE.py:FUNCTION; classify takes several.",
        show_default="the task's",
    ),
]
Attack = Annotated[
    list[str] | None,
    typer.Option(
        help="The attack; tasks take ssp, cda, fff, noise or none, several times or with commas.",
        show_default="ssp",
    ),
]
Defense = Annotated[
    list[str] | None,
    typer.Option(
        help="detect, instances, segment: a defense such as fast or jpeg:quality=75; may be given"
        " several times.",
        show_default="fast",
    ),
]
Longest = Annotated[
    int | None, typer.Option(min=1, help="detect, instances: scale down to this side.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="tasks: keep what is there in --out."),
]

_OWN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("labels", "classes", "victims", "uint8", "purifier", "size", "batch", "group"),
        ("classify",),
    ),
    "check_labels": ("classify",),
    **dict.fromkeys(("annotations", "longest"), ("detect", "instances")),
    "masks": ("segment",),
    **dict.fromkeys(("defense", "resume"), ("detect", "instances", "segment")),
}
"""The tasks of an option that does not belong to all."""


def command(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Images, or one sub-folder for each class.")
    ],
    labels: Labels = None,
    classes: Classes = None,
    victims: Annotated[
        str | None,
        typer.Option(help="Several --victim, with commas between.", show_default="the demo's five"),
    ] = None,
    task: Task = TaskChoice.CLASSIFY,
    annotations: Annotations = None,
    masks: Masks = None,
    victim: Victim = None,
    attack: Attack = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            help="The network that SSP, or an attack on classifiers, works on; the latter take"
            " several.",
            show_default="vgg16 for ssp",
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Its layer (ssp, tap).", show_default="vgg16's conv3_3")
    ] = None,
    preset: Annotated[str, typer.Option(help="The attack's settings: paper or authors.")] = "paper",
    eps: Annotated[
        str,
        typer.Option(
            help="Budget, as a fraction or a number; tasks take several with commas between."
        ),
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
    attacked: Annotated[
        Path | None,
        typer.Option(help="Attacked images made before."),
    ] = None,
    uint8: Annotated[
        bool,
        typer.Option("--uint8/--float", help="Round attacked images to 8 bits first, or not."),
    ] = True,
    purifier: Annotated[str, typer.Option(help="A shipped purifier's name, or a file.")] = "fast",
    defense: Defense = None,
    longest: Longest = None,
    resume: Resume = False,
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
        typer.Option(help="JSON file; for other tasks the folder of the run."),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Measure classifiers on labeled images: clean, attacked, purified, and clean ones purified.

    With --task detect, instances or segment: a detector or segmenter, behind every --defense.
    """
    load_plugin_option(plugin)
    _check_options(context, task)
    if task is not TaskChoice.CLASSIFY:
        _evaluate_task(task, folder, context.params)
        return
    if out is not None:
        check_writable(out)
    given = {
        "attack": one_attack(attack),
        "trained": _trained_for(one_attack(attack), trained or ()),
        "victims": [*split_specs(victims or ""), *(victim or ())] or None,
        "surrogate": ",".join(surrogate) if surrogate else None,
        "eps": eps_option(eps),
        "steps": steps,
        "step_size": None if step_size is None else eps_option(step_size, "--step-size"),
        "layer": layer,
        "preset": preset,
        "attacked": attacked,
        "uint8": uint8,
        "purifier": purifier,
        "size": size,
        "batch": batch,
        "group": group,
        "amp": resolve_amp(amp),
        "seed": seed,
        "check_labels": check_labels,
        "device": resolve_device(device),
    }
    plan = {k: v for k, v in given.items() if v is not None}
    outcome = _evaluate(folder, plan, labels, classes, limit)
    for text in outcome.notes:
        note(text)
    show_accuracy(outcome.result, json)
    note_precision(outcome.result["settings"], "attack and purifier")
    if out is not None:
        write_json(out, outcome.result)
    _end(outcome.broken)


def _end(failed: Sequence[str], what: str = "") -> None:
    """Name the files that are in no result, and end with exit code 1 if there are some."""
    if not failed:
        return
    note(f"{len(failed)} {what}could not be read and are in no number:")
    for text in failed:
        note(f"  {text}")
    raise typer.Exit(1)


def _trained_for(attack: str | None, given: Sequence[str]) -> Path | None:
    """The file of the one attack, None without any.

    Raises:
        InputError: A file for another attack.
    """
    from nrpurify.attacks.trained import read_trained

    files = read_trained(given)
    name = (attack or "ssp").partition(":")[0]
    if idle := sorted(files.keys() - {name}):
        raise InputError(f"--trained names {idle[0]}; the attack is {name}")
    return files.get(name)


def _evaluate(
    folder: Path,
    plan: dict[str, Any],
    labels: Path | None,
    classes: Path | None,
    limit: int | None,
) -> Any:
    from nrpurify.evaluation import Plan, evaluate_folder

    with progress_bar() as progress:
        task = progress.add_task("evaluate", total=None)
        return evaluate_folder(
            folder,
            Plan(**plan),
            labels=labels,
            classes=classes,
            limit=limit,
            watch=lambda done, total: progress.update(task, completed=done, total=total),
        )


def show_accuracy(result: dict[str, Any], as_json: bool) -> None:
    """Print the accuracy of each victim under each condition, in percent, or all as JSON."""
    if as_json:
        print_json(result)
        return
    conditions = list(result["mean"])
    rows = {**result["victims"], "mean": result["mean"]}
    cells = [[name, *(f"{100 * row[c]:.1f}" for c in conditions)] for name, row in rows.items()]
    header = ["accuracy, %", *(name.replace("_", " ") for name in conditions)]
    print_table(header, cells)


def _check_options(context: typer.Context, task: TaskChoice) -> None:
    """Refuse options that belong to another task, and the making of what is made before.

    Raises:
        InputError: One was given; the message names it and the tasks that take it.
    """
    given = {name for name in context.params if _was_given(context, name)}
    for name in sorted(given & _OWN.keys()):
        if task not in _OWN[name]:
            raise InputError(
                f"--{name.replace('_', '-')} does not belong to --task {task}; it goes with --task "
                f"{' or '.join(_OWN[name])}"
            )
    settings = {"attack", "steps", "step_size", "surrogate", "layer", "preset", "trained"}
    if task is not TaskChoice.CLASSIFY:  # there the images made before are checked against eps
        settings.add("eps")
    making = sorted(given & settings)
    if "attacked" in given and making:
        raise InputError(
            f"--{making[0].replace('_', '-')} does not go with --attacked, whose images are made; "
            "leave one of them out"
        )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def one_attack(names: list[str] | None) -> str | None:
    """The one attack of ``--task classify``, None for the default.

    Raises:
        InputError: Several were given.
    """
    if names and (len(names) > 1 or len(split_specs(names[0])) > 1):
        raise InputError(
            f"--attack is {', '.join(names)}; --task classify takes one, `nrpurify grid` several"
        )
    return names[0] if names else None


def _evaluate_task(task: TaskChoice, folder: Path, options: Mapping[str, Any]) -> None:
    """Evaluate a task into ``--out`` and print its tables.

    Args:
        task: Not ``classify``.
        folder: The images.
        options: All options of the command by the names of their parameters.

    Raises:
        InputError: Options that cannot be used; ``--out`` among them when it is missing.
    """
    out: Path | None = options["out"]
    if out is None:
        raise InputError(f"--task {task} needs --out RUN_DIR, the folder of the run")
    from nrpurify.tasks.run import evaluate_task
    from nrpurify.tasks.table import task_tables
    from nrpurify.tasks.victims import FAILED

    plan = _plan(task, folder, options)
    with progress_bar() as progress:
        bar = progress.add_task(str(task), total=None)
        found = evaluate_task(
            plan,
            out,
            resume=options["resume"],
            watch=lambda what, done, total: progress.update(
                bar, description=what, completed=done, total=total
            ),
        )
    for warning in found.warnings:
        note(f"warning, {warning['kind']}: {warning['text']}")
    if options["json"]:
        print_json(found.to_dict())
    else:
        for header, rows in task_tables(found):
            print_table(header, rows)
    note_precision(found, "attacks")
    note(f"run: {out / 'run.json'}; see it with `nrpurify report {out}`")
    _end([text for kind in FAILED for text in found.left_out.get(kind, [])], "files ")


def _one(options: Mapping[str, Any], name: str) -> str | None:
    """The one value of a repeatable option, None without any."""
    given = options[name]
    if given and len(given) > 1:
        raise InputError(f"--{name} was given {len(given)} times; --task {options['task']} takes 1")
    return given[0] if given else None


def _plan(task: TaskChoice, folder: Path, options: Mapping[str, Any]) -> TaskPlan:
    from nrpurify.attacks.trained import read_trained
    from nrpurify.tasks.plan import TaskPlan

    same = (
        *("annotations", "masks", "steps", "preset", "layer"),
        *("attacked", "limit", "longest", "seed"),
    )
    given = {name: options[name] for name in same}
    attacks, defenses, step = options["attack"], options["defense"], options["step_size"]
    given |= {
        "victim": _one(options, "victim"),
        "surrogate": _one(options, "surrogate"),
        "trained": read_trained(options["trained"] or ()),
        "eps": tuple(eps_option(text) for text in options["eps"].split(",")),
        "attacks": tuple(spec for text in attacks for spec in split_specs(text))
        if attacks
        else None,
        "defenses": tuple(defenses) if defenses else None,
        "step_size": None if step is None else eps_option(step, "--step-size"),
        "device": resolve_device(options["device"]),
        "amp": resolve_amp(options["amp"]),
    }
    return TaskPlan(str(task), folder, **{k: v for k, v in given.items() if v is not None})
