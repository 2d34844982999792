"""The commands by name; a command's module is imported when the command is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from nrpurify.cli.options import share_options

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
    share_options(command)
    return command
