"""``nrpurify paper``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    Json,
    Limit,
    PluginOption,
    ResumeRun,
    Seed,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import (
    NotedProgress,
    complain,
    note,
    print_json,
    print_table,
    print_wide_table,
)

if TYPE_CHECKING:
    from nrpurify.paper import Result

EXAMPLES = """Examples:

nrpurify paper list

nrpurify paper run table1 --scale smoke --out out/table1

nrpurify paper run table5 --scale small --images photos/ --labels photos.csv --out out/table5

nrpurify paper run all --scale smoke --out out/paper"""

app = typer.Typer(no_args_is_help=True, help="The paper's tables and figures, as commands.")


class ScaleChoice(StrEnum):
    """What ``--scale`` takes."""

    SMOKE = "smoke"
    SMALL = "small"
    FULL = "full"


@app.command("list", epilog="Example:\n\nnrpurify paper list --json")
def list_command(json: Json = False) -> None:
    """List the tables and figures, what each measured, and what a run costs."""
    from nrpurify.paper import get, names

    if json:
        print_json([experiment.summary() for experiment in map(get, names())])
        return
    header = ["name", "title", "--scale small takes"]
    rows = [[e.name, e.title, e.cost["small"]] for e in map(get, names())]
    print_table(header, rows)


@app.command("run", epilog=EXAMPLES)
def run_command(
    name: Annotated[str, typer.Argument(help="A name from `nrpurify paper list`, or all.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; for all, of their folders.")],
    scale: Annotated[
        ScaleChoice, typer.Option(help="Amount of work, and kind of data.")
    ] = ScaleChoice.SMOKE,
    images: Annotated[Path | None, typer.Option(help="Labeled images.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV of the labels of --images.", show_default="one sub-folder for each class"
        ),
    ] = None,
    limit: Limit = None,
    scenes: Annotated[Path | None, typer.Option(help="Photos with objects.")] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Of --scenes: a COCO JSON file, or a folder of YOLO text files."),
    ] = None,
    frames: Annotated[Path | None, typer.Option(metavar="PATH", help="Street scenes.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Class masks of --frames.")] = None,
    data: Annotated[Path | None, typer.Option(help="Unlabeled photos to train on.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Finished trainings: NAME/purifier.safetensors.")
    ] = None,
    trained: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="CDA's generators by domain (imagenet, comics, paintings) or FFF's pattern (fff).",
        ),
    ] = None,
    purifier: Annotated[str, typer.Option(help="In place of NRP: a name or file.")] = "fast",
    victim: Annotated[
        list[str] | None,
        typer.Option(
            help="A classifier beside a table's victims, or in place of its only one. "
            "May be given several times."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of trainings.", rich_help_panel="Options")
    ] = None,
    resume: ResumeRun = False,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Run a table or figure and print the paper's numbers beside those measured here.

    OUT gets a run that `nrpurify report OUT` shows.
    """
    load_plugin_option(plugin)
    from nrpurify.attacks.trained import read_trained
    from nrpurify.paper import Bench, run_all, run_experiment
    from nrpurify.paper.bench import TRAINED

    bench = Bench(
        scale=scale.value,
        out=out,
        images=images,
        labels=labels,
        limit=limit,
        scenes=scenes,
        annotations=annotations,
        frames=frames,
        masks=masks,
        data=data,
        checkpoints=checkpoints,
        trained=read_trained(trained or (), TRAINED),
        purifier=purifier,
        victims=tuple(victim or ()),
        steps=steps,
        seed=seed,
        device=resolve_device(device),
        amp=resolve_amp(amp),
        resume=resume,
        progress=NotedProgress(),
    )
    if name != "all":
        result = run_experiment(name, bench)
        _show(result, json)
        return
    results: list[Result] = []
    failed = run_all(bench, results.append if json else lambda result: _show(result, False))
    if json:
        print_json([_plain(result) for result in results])
    for other, reason in failed.items():
        complain(f"{other} was not run: {reason}")
    if failed:
        raise typer.Exit(1)


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        print_json(_plain(result))
        return
    told = result.run.settings["paper"]
    typer.echo(f"{result.experiment.where}: {result.experiment.title}")
    typer.echo(f"paper: {result.experiment.measured}")
    typer.echo(f"here ({told['scale']}): {told['instead']}")
    _show_rows(result)
    for finding in result.findings:
        typer.echo(f"paper: {finding.claim}\n here: {finding.here or 'see the lines above'}")
    for warning in result.run.warnings:
        note(f"{warning['kind']}: {warning['text']}")
    if result.files:
        note(f"plots: {', '.join(result.files)}")


def _show_rows(result: Result) -> None:
    """Paper / here in each cell; columns in which nothing was measured are named below."""
    cells = {(row.row, row.column): f"{row.paper} / {row.here.split()[0]}" for row in result.rows}
    columns = list(dict.fromkeys(row.column for row in result.rows))
    filled = {row.column for row in result.rows if row.here != "—"} or set(columns)
    shown = [column for column in columns if column in filled]
    if not shown:
        return
    typer.echo(
        "each cell: paper / here, in percent where no unit stands; intervals are in run.json"
    )
    headings = dict.fromkeys(row.row for row in result.rows)
    table = [[row, *(cells.get((row, column), "") for column in shown)] for row in headings]
    print_wide_table(["", *shown], table)
    if left := [column for column in columns if column not in filled]:
        typer.echo(f"not measured here: {', '.join(left)}")


def _plain(result: Result) -> dict[str, Any]:
    return {
        "name": result.experiment.name,
        "where": result.experiment.where,
        "rows": [vars(row) for row in result.rows],
        "findings": [vars(finding) for finding in result.findings],
        "files": result.files,
        "run": result.run.to_dict(),
    }
