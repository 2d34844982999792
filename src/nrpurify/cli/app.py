"""All commands under one roof, and what becomes of their errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import nrpurify
from nrpurify.cli import attack, demo, evaluate, purify, train, weights
from nrpurify.cli.common import weights_log
from nrpurify.errors import NrpurifyError

app = typer.Typer(
    name="nrpurify",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (demo, attack, purify, train, evaluate):
    app.command(epilog=module.EXAMPLES)(module.command)
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
    try:
        with weights_log():
            app(None if args is None else list(args), prog_name="nrpurify")
    except SystemExit as leaving:
        code = int(leaving.code or 0)
        if code == 130:
            print("nrpurify: interrupted", file=sys.stderr)
        return code
    except (NrpurifyError, OSError) as error:
        print(f"nrpurify: error: {error}", file=sys.stderr)
        return 2
    return 0
