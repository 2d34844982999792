"""All commands under one roof, and what becomes of their errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import nrpurify
from nrpurify.cli import (
    attack,
    demo,
    evaluate,
    grid,
    paper,
    purify,
    report,
    train,
    train_attack,
    train_segmenter,
    weights,
)
from nrpurify.cli.common import note, weights_log
from nrpurify.errors import NrpurifyError

INTERRUPTED = 130

app = typer.Typer(
    name="nrpurify",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo", epilog=demo.EXAMPLES)(demo.command)
app.command("attack", epilog=attack.EXAMPLES)(attack.command)
app.command("purify", epilog=purify.EXAMPLES)(purify.command)
app.command("train", epilog=train.EXAMPLES)(train.command)
app.add_typer(train_attack.app, name="train-attack", epilog=train_attack.EXAMPLES)
app.command("train-segmenter", epilog=train_segmenter.EXAMPLES)(train_segmenter.command)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.command)
app.command("grid", epilog=grid.EXAMPLES)(grid.command)
app.command("report", epilog=report.EXAMPLES)(report.command)
app.add_typer(paper.app, name="paper", epilog=paper.EXAMPLES)
app.add_typer(weights.app, name="weights", epilog=weights.EXAMPLES)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nrpurify {nrpurify.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Protect vision models from adversarial examples with one purifier network."""


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see :func:`nrpurify.cli.main`."""
    code = 0
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that its encoding lacks ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with weights_log():
            app(None if args is None else list(args), prog_name="nrpurify")
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (NrpurifyError, OSError) as error:
        note(f"nrpurify: error: {error}")
        code = 2
    if code == INTERRUPTED:
        note("nrpurify: interrupted")
    return code
