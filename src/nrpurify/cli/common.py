"""Options and arguments that several commands share, and the values they stand for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nrpurify.core.errors import InputError
from nrpurify.core.spec import parse_eps

if TYPE_CHECKING:
    from nrpurify.core.precision import Amp


class AmpChoice(StrEnum):
    """What ``--amp`` takes."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class NormChoice(StrEnum):
    """What ``--norm`` takes."""

    LINF = "linf"
    L2 = "l2"


class FramesChoice(StrEnum):
    """What ``--frames`` takes."""

    REFUSE = "refuse"
    FIRST = "first"


SEED_HELP = "Seed of all randomness."
Seed = Annotated[int, typer.Option(min=0, help=SEED_HELP)]
RecipeSeed = Annotated[int | None, typer.Option(min=0, help=SEED_HELP, show_default="the recipe's")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 ... By default cuda if there is one.")
]
AmpOption = Annotated[
    AmpChoice, typer.Option("--amp", help="bf16 arithmetic; auto: where the hardware has it.")
]
PlanSeed = Annotated[int | None, typer.Option(min=0, help=SEED_HELP, show_default="the plan's")]
PLAN_HELP = "A YAML file, or a shipped plan: demo, quick or transfer."
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Make outputs of other settings or sources again; replace a file DST."
    ),
]
Trained = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="A generator (cda) or pattern (fff) of your own. May be given several times.",
        show_default="the shipped ones",
    ),
]
Labels = Annotated[
    Path | None, typer.Option(help="CSV: image,label (from 0) or ImageId,TrueLabel (from 1).")
]
Classes = Annotated[
    Path | None,
    typer.Option(help="Names of the classes in their order: of sub-folders, or of YOLO's numbers."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first images.")]
ResumeRun = Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")]


PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="NAME",
        help="Load a plug-in's module or file.",
    ),
]
TrustPlan = Annotated[
    bool,
    typer.Option("--trust-plan", help="Run the code that the plan names: plug-ins, functions."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
FramesOption = Annotated[
    FramesChoice, typer.Option("--frames", help="For animations and files with several pages.")
]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="Larger images are refused before a pixel is decoded.")
]
ShardOption = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only part I of N, I from 0: for N machines that share DST.",
        show_default="all",
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Look into sub-folders.")]


def load_plugin_option(specs: Sequence[str] | None) -> None:
    """Load the plug-ins of ``--plugin``, before the command looks a name up."""
    if specs:
        from nrpurify.core.plugins import load_plugins

        load_plugins(specs)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def eps_option(text: str, flag: str = "--eps", norm: str = "linf") -> float:
    """Read a distance in units of [0, 1] images: a fraction such as ``16/255``, or a number.

    Raises:
        InputError: Neither of them, or outside (0, 1], for ℓ2 not above 0.
    """
    return parse_eps(text, f"{flag} is {text!r}", norm)


def resolve_device(name: str | None) -> str:
    """The device to work on: ``name`` if given, else ``cuda`` if there is one, else ``cpu``.

    Raises:
        InputError: No such device here.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name!r} cannot be used here: {reason}") from error
    return name


def resolve_amp(choice: AmpChoice) -> Amp:
    """``--amp`` as the library takes it."""
    values: dict[AmpChoice, Amp] = {AmpChoice.ON: True, AmpChoice.OFF: False}
    return values.get(choice, "auto")


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="SRC... DST",
        help="Images, folders or globs; then a folder, or for one image the name of a file.",
        show_default=False,
    ),
]


def split_paths(paths: Sequence[str]) -> tuple[list[str], str]:
    """Split the paths into sources and the destination, which is the last one.

    With several sources the destination is a folder or new.

    Raises:
        InputError: It is one, as when a shell glob ends the command, or the only path.
    """
    *sources, last = paths
    is_file = last != "-" and os.path.lexists(last) and not Path(last).is_dir()
    if not sources or (is_file and len(sources) > 1):
        raise InputError(
            f"the last path, {last!r}, {'is a file' if sources else 'is the only one'}; expected "
            "sources and then a destination: a folder, a name that ends in /, or a new name"
        )
    return sources, last
