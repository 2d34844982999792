"""The commands by name, and what they share: ``-h``, ``--quiet``, panels and short types.

A command's module is imported when the command is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption

from nrpurify.cli.output import set_quiet

_MODULES = {
    "demo": "demo",
    "attack": "attack",
    "purify": "purify",
    "detect": "detect",
    "export": "export",
    "train": "train",
    "train-attack": "train_attack",
    "train-segmenter": "train_segmenter",
    "evaluate": "evaluate",
    "certify": "certify",
    "grid": "grid",
    "report": "report",
    "serve": "serve",
    "list": "listing",
    "paper": "paper",
    "weights": "weights",
}
"""The module of each command, in the order of the help page.

A module has ``EXAMPLES`` and either ``command``, a function, or ``app`` with commands of its own.
"""

_PANELS = {
    "Data": "plan images labels classes scenes annotations masks data targets recursive size "
    "longest limit batch group attacked save_tensors overwrite out resume frames max_pixels",
    "Models": "task victims victim metric checkpoints purifier defense strength passes mean std",
    "Attack": "name attack surrogate layer norm eps preset steps step_size restarts trained uint8 "
    "float",
    "Checks": "check_labels",
}
_METAVARS = {
    "N": "steps restarts batch group seed size limit longest passes loader_threads max_pixels",
    "EPS": "eps step_size",
    "NAME": "name metric norm attack surrogate layer preset victims victim purifier defense device "
    "recipe",
    "TASK": "task",
    "PATH": "images labels classes scenes annotations masks targets attacked out data checkpoints "
    "trained warm_start",
}
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names.split()}
_METAVAR_OF = {name: metavar for metavar, names in _METAVARS.items() for name in names.split()}
_MANY = 14
"""Commands with more options than this have their options in panels."""


class Commands(Mapping[str, Any]):
    """Looks a command up in :data:`_MODULES`."""

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __getitem__(self, name: str) -> Any:
        return _load(name, _MODULES[name])


class CommandGroup(TyperGroup):
    """The root of the command line, with :class:`Commands`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])
        self.commands = Commands()  # type: ignore[assignment]


@cache
def _load(name: str, module: str) -> Any:
    found = import_module(f"nrpurify.cli.{module}")
    if hasattr(found, "app"):
        command: Any = typer.main.get_group(found.app)
        command.epilog = found.EXAMPLES
    else:
        made = typer.Typer(add_completion=False, rich_markup_mode="rich")
        made.command(name, epilog=found.EXAMPLES)(found.command)
        command = typer.main.get_command(made)
    command.name = name
    _share_options(command)
    return command


def _share_options(command: Any) -> None:
    """Add the shared options to a command and its sub-commands."""
    for one in _all(command):
        one.context_settings.setdefault("help_option_names", ["-h", "--help"])
        if not hasattr(one, "commands"):
            one.params.append(_quiet())
            _arrange(one)


def _all(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _all(child)


def _quiet() -> Any:
    """The option as typer makes it; commands do not see its value."""
    made = typer.Typer(add_completion=False)

    @made.command()
    def _(
        quiet: Annotated[
            bool,
            typer.Option(
                "--quiet",
                callback=set_quiet,
                is_eager=True,
                help="Show no progress and no notes, only results and errors.",
            ),
        ] = False,
    ) -> None: ...

    option = typer.main.get_command(made).params[0]
    option.expose_value = False
    return option


def _arrange(command: Any) -> None:
    """Put many options into panels, and long types into short words, so that 80 columns do."""
    options = [option for option in command.params if isinstance(option, TyperOption)]
    for option in options:
        name = option.name or ""
        if len(options) > _MANY and option.rich_help_panel is None:
            option.rich_help_panel = _PANEL_OF.get(name)
        if option.metavar is None and not option.is_flag:
            option.metavar = _METAVAR_OF.get(name)
