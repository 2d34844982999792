"""All commands under one roof, and what becomes of their errors."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import nrpurify
from nrpurify.cli.commands import CommandGroup
from nrpurify.cli.output import complain, set_quiet, warnings_as_lines, weights_log
from nrpurify.core.errors import INTERRUPTED, InputError, NrpurifyError

app = typer.Typer(
    name="nrpurify",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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


def _run_app(args: list[str] | None) -> None:
    typer.main.get_command(app)(args, prog_name="nrpurify")


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see :func:`nrpurify.cli.main`."""
    code = 0
    given = sys.argv[1:] if args is None else list(args)
    set_quiet(False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that its encoding lacks ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with weights_log(), warnings_as_lines():
            _refuse_empty(given)
            _run_app(None if args is None else given)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (NrpurifyError, OSError) as error:
        complain(f"nrpurify: error: {_told(error)}")
        code = 2
    if code == INTERRUPTED:
        complain(f"nrpurify: interrupted{_way_on(given)}")
    return code


def _refuse_empty(args: Sequence[str]) -> None:
    """Refuse empty words: as a path they would stand for the current folder.

    Raises:
        InputError: A word is empty, as a variable of a shell that is not set.
    """
    for before, word in zip(["nrpurify", *args], args, strict=False):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise InputError(
                f"the value after {str(word or before)!r} is empty; expected a name, such as . for "
                "this folder"
            )


def _told(error: NrpurifyError | OSError) -> str:
    """An error in words; of the system's errors the file and the reason, without a number."""
    if isinstance(error, NrpurifyError) or not (error.strerror and error.filename):
        return str(error)
    return f"{os.fsdecode(error.filename)!r}: {error.strerror}"


def _way_on(args: Sequence[str]) -> str:
    """How an interrupted command goes on with what it has finished, if it can."""
    command = typer.main.get_command(app)
    for word in args:
        command = getattr(command, "commands", {}).get(word, command)
    if command.name in ("attack", "purify"):
        return "; run the same command again, finished images are kept"
    flags = {flag for parameter in command.params for flag in parameter.opts}
    if "--resume" not in flags or (command.name == "evaluate" and not _has_task(args)):
        return ""
    return "; run the same command again" + ("" if "--resume" in args else " with --resume")


def _has_task(args: Sequence[str]) -> bool:
    """Whether ``evaluate`` does a task that writes what it has finished."""
    text = " ".join(args).replace("--task=", "--task ")
    return "--task " in text and "--task classify" not in text
