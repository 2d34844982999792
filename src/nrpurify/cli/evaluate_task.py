"""``nrpurify evaluate --task detect|instances|segment``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
    eps_option,
    note,
    note_precision,
    print_json,
    print_table,
    progress_bar,
    resolve_amp,
    resolve_device,
)
from nrpurify.core.errors import InputError
from nrpurify.core.spec import split_specs

if TYPE_CHECKING:
    from nrpurify.tasks.plan import TaskPlan


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


def check_options(context: typer.Context, task: TaskChoice) -> None:
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


def run(task: TaskChoice, folder: Path, options: Mapping[str, Any]) -> None:
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
    for warning in found["warnings"]:
        note(f"warning, {warning['kind']}: {warning['text']}")
    if options["json"]:
        print_json(found)
    else:
        for header, rows in task_tables(found):
            print_table(header, rows)
    note_precision(found, "attacks")
    note(f"run: {out / 'run.json'}; see it with `nrpurify report {out}`")
    failed = [text for kind in FAILED for text in found["left_out"].get(kind, [])]
    if failed:
        note(f"{len(failed)} files could not be read and are in no number:")
        for text in failed:
            note(f"  {text}")
        raise typer.Exit(1)


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
