"""``nrpurify list``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from nrpurify.cli.common import Json, print_json, print_table

EXAMPLES = """Examples:

nrpurify list attacks

nrpurify list defenses --json"""

Row = dict[str, Any]


class Kind(StrEnum):
    """What can be listed."""

    ATTACKS = "attacks"
    DEFENSES = "defenses"
    PURIFIERS = "purifiers"
    VICTIMS = "victims"


def _attacks() -> Iterable[Row]:
    from nrpurify import attacks
    from nrpurify.attacks.spec import spec_settings

    for name in attacks.names():
        entry = attacks.get(name)
        yield {"name": name, "source": entry.source, "settings": spec_settings(entry)}


def _defenses() -> Iterable[Row]:
    from nrpurify import defenses

    for name in [*defenses.names(), *_shipped()]:
        entry = defenses.get(name)
        settings = {
            one.name: None if str(one.default).startswith("<") else one.default
            for one in entry.settings.values()
            if one.name != "generator"  # made from the seed
        }
        yield {"name": name, "source": entry.info.get("source", ""), "settings": settings}


def _shipped() -> list[str]:
    from nrpurify.purifiers import shipped

    return list(shipped())


def _purifiers() -> Iterable[Row]:
    from nrpurify.purifiers import DESIGNS

    ready = _shipped()
    for name, design in DESIGNS.items():
        source = "shipped, trained" if name in ready else "a design, to be trained"
        yield {"name": name, "source": source, "settings": design.arguments}


def _victims() -> Iterable[Row]:
    from nrpurify import models, weights

    for name in models.names():
        known = name in weights.names()
        body = f"{name.removesuffix('_ridge')}, with a distilled head"
        source = weights.get(name).origin if known else body
        yield {"name": name, "source": source, "settings": {}}
    common = dict.fromkeys(("mean", "std", "size", "checkpoint"))
    for name, source in _OTHER_VICTIMS.items():
        yield {"name": name, "source": source, "settings": common}


_OTHER_VICTIMS = {
    "timm:NAME": "a classifier of timm",
    "torchvision:NAME": "a classifier of torchvision",
    "python:MODULE:FUNCTION": "a function that returns your model",
    "FILE.py:FUNCTION": "the same, in a file",
    "FILE.onnx": "an ONNX file, also as onnx:FILE",
}


_ROWS: dict[Kind, Callable[[], Iterable[Row]]] = {
    Kind.ATTACKS: _attacks,
    Kind.DEFENSES: _defenses,
    Kind.PURIFIERS: _purifiers,
    Kind.VICTIMS: _victims,
}


def command(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    json: Json = False,
) -> None:
    """List attacks, defenses, purifiers or victims, with their sources and settings.

    Settings are shown with their defaults (those of the preset paper for attacks). They are given
    as in pgd:steps=40,step_size=2/255.
    """
    rows = list(_ROWS[kind]())
    if json:
        print_json(rows)
        return
    cells = [
        (row["name"], row["source"], ", ".join(_shown(*item) for item in row["settings"].items()))
        for row in rows
    ]
    print_table(("name", "source", "settings"), cells)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return name
    if isinstance(value, bool):
        return f"{name}={str(value).lower()}"  # as a spec writes it
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
