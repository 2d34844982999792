"""``nrpurify evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nrpurify.cli import evaluate_task
from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    Json,
    Seed,
    Trained,
    eps_option,
    note,
    note_precision,
    print_json,
    print_table,
    progress_bar,
    resolve_amp,
    resolve_device,
)
from nrpurify.core.files import check_writable, write_json
from nrpurify.core.spec import split_specs

EXAMPLES = """Examples:

nrpurify evaluate images/ --labels images.csv --eps 16/255 --out results.json

nrpurify evaluate one-folder-per-class/ --victims squeezenet1_1,timm:resnet50 --limit 100

nrpurify evaluate val2017/ --task detect --annotations instances_val2017.json --attack ssp,cda
--eps 8/255,16/255 --defense fast --defense jpeg:quality=75 --out runs/detect

nrpurify evaluate camvid/test/ --task segment --masks camvid/testannot/ --out runs/segment"""


def command(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Images, or one sub-folder for each class.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="CSV: image,label (from 0) or ImageId,TrueLabel (from 1).")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Sub-folders' names in the victims' order."),
    ] = None,
    victims: Annotated[
        str | None,
        typer.Option(help="Several --victim, with commas between.", show_default="the demo's five"),
    ] = None,
    task: evaluate_task.Task = evaluate_task.TaskChoice.CLASSIFY,
    annotations: evaluate_task.Annotations = None,
    masks: evaluate_task.Masks = None,
    victim: evaluate_task.Victim = None,
    attack: evaluate_task.Attack = None,
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
    defense: evaluate_task.Defense = None,
    longest: evaluate_task.Longest = None,
    resume: evaluate_task.Resume = False,
    size: Annotated[int, typer.Option(min=16, help="Side of the images in pixels.")] = 224,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first images only.")] = None,
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
    json: Json = False,
) -> None:
    """Measure classifiers on labeled images: clean, attacked, purified, and clean ones purified.

    With --task detect, instances or segment: a detector or segmenter, behind every --defense.
    """
    evaluate_task.check_options(context, task)
    if task is not evaluate_task.TaskChoice.CLASSIFY:
        evaluate_task.run(task, folder, context.params)
        return
    if out is not None:
        check_writable(out)
    given = {
        "attack": evaluate_task.one_attack(attack),
        "trained": _trained_for(evaluate_task.one_attack(attack), trained or ()),
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
    if outcome.broken:
        note(f"{len(outcome.broken)} could not be read and are in no number:")
        for text in outcome.broken:
            note(f"  {text}")
        raise typer.Exit(1)


def _trained_for(attack: str | None, given: Sequence[str]) -> Path | None:
    """The file of the one attack, None without any.

    Raises:
        InputError: A file for another attack.
    """
    from nrpurify.attacks.trained import read_trained
    from nrpurify.core.errors import InputError

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
