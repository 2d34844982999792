"""``nrpurify list``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import Json, PluginOption, load_plugin_option, print_json, print_table

if TYPE_CHECKING:
    from nrpurify.core.registry import Entry, Registry

EXAMPLES = """Examples:

nrpurify list attacks

nrpurify list defenses --json

nrpurify list attacks --plugin mine.py"""

Row = dict[str, Any]


class Kind(StrEnum):
    """What can be listed."""

    ATTACKS = "attacks"
    DEFENSES = "defenses"
    PURIFIERS = "purifiers"
    VICTIMS = "victims"
    DETECTORS = "detectors"
    SEGMENTERS = "segmenters"
    TASKS = "tasks"
    METRICS = "metrics"


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
        settings = _defaults(entry, ("generator",))  # it is made from the seed
        yield {"name": name, "source": entry.info.get("source", ""), "settings": settings}


def _defaults(entry: Entry[Any], hidden: Sequence[str]) -> dict[str, Any]:
    """Settings with their defaults; None where a value has to be given."""
    return {
        one.name: None if str(one.default).startswith("<") else one.default
        for one in entry.settings.values()
        if one.name not in hidden
    }


def _shipped() -> list[str]:
    from nrpurify.purifiers import shipped

    return list(shipped())


def _purifiers() -> Iterable[Row]:
    from nrpurify.purifiers import DESIGNS, load_purifier
    from nrpurify.purifiers.registry import PURIFIERS

    ready = _shipped()
    for name, design in DESIGNS.items():
        source = "shipped, trained" if name in ready else "a design, to be trained"
        yield {"name": name, "source": source, "settings": design.arguments}
    for name in ready:
        if name not in DESIGNS:  # weights of a design of another name, for another use
            card = load_purifier(name).card
            of = card.training["recipe"]["purifier"]
            yield {"name": name, "source": f"shipped, trained; a {of}", "settings": card.arguments}
    yield from map(_row, map(PURIFIERS.get, PURIFIERS.foreign_names()))


def _victims() -> Iterable[Row]:
    from nrpurify import weights
    from nrpurify.models.registry import VICTIMS

    foreign = VICTIMS.foreign_names()
    for name in VICTIMS.names():
        if name in foreign:
            continue
        known = name in weights.names()
        body = f"{name.removesuffix('_ridge')}, with a distilled head"
        source = weights.get(name).origin if known else body
        yield {"name": name, "source": source, "settings": {}}
    yield from map(_row, map(VICTIMS.get, foreign))
    common = dict.fromkeys(("mean", "std", "size", "checkpoint"))
    for name, source in _OTHER_VICTIMS.items():
        yield {"name": name, "source": source, "settings": common}


def _tasks() -> Iterable[Row]:
    from nrpurify.evaluation.tasks import TASKS

    return map(_row, map(TASKS.get, TASKS.names()))


def _metrics() -> Iterable[Row]:
    from nrpurify.evaluation.metrics import METRICS

    return map(_row, map(METRICS.get, METRICS.names()))


def _row(entry: Entry[Any]) -> Row:
    source = entry.info.get("source", "")
    return {"name": entry.name, "source": source, "settings": _defaults(entry, ())}


_FUNCTIONS = {
    "python:MODULE:FUNCTION": "a function that returns your model",
    "FILE.py:FUNCTION": "the same, in a file",
    "FILE.onnx": "an ONNX file, also as onnx:FILE",
}
_OTHER_VICTIMS = {
    "timm:NAME": "a classifier of timm",
    "torchvision:NAME": "a classifier of torchvision",
    **_FUNCTIONS,
}


def _detectors() -> Iterable[Row]:
    from nrpurify.models.detectors.registry import DETECTORS

    return _registered(DETECTORS, "detector")


def _segmenters() -> Iterable[Row]:
    from nrpurify.models.segmenters.registry import SEGMENTERS

    yield from _registered(SEGMENTERS, "segmenter")
    source = "nrpurify train-segmenter"
    yield {"name": "FILE.safetensors", "source": source, "settings": {}}


def _registered(registry: Registry[Any], kind: str) -> Iterable[Row]:
    from nrpurify import weights

    for name in registry.names():
        entry = registry.get(name)
        known = weights.get(name).origin if name in weights.names() else ""
        source = entry.info.get("source", known)
        yield {"name": name, "source": source, "settings": _defaults(entry, ("pretrained",))}
    yield {"name": "torchvision:NAME", "source": f"a {kind} of torchvision", "settings": {}}
    for name, source in _FUNCTIONS.items():
        yield {"name": name, "source": source, "settings": {}}


_ROWS: dict[Kind, Callable[[], Iterable[Row]]] = {
    Kind.ATTACKS: _attacks,
    Kind.DEFENSES: _defenses,
    Kind.PURIFIERS: _purifiers,
    Kind.VICTIMS: _victims,
    Kind.DETECTORS: _detectors,
    Kind.SEGMENTERS: _segmenters,
    Kind.TASKS: _tasks,
    Kind.METRICS: _metrics,
}


def command(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """List attacks, defenses, models, tasks or metrics, with their sources and settings.

    Settings are shown with their defaults (those of the preset paper for attacks). They are given
    as in pgd:steps=40,step_size=2/255.
    """
    load_plugin_option(plugin)
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
