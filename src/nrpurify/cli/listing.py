"""``nrpurify list``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import Json, PluginOption, load_plugin_option
from nrpurify.cli.output import print_json, print_table

if TYPE_CHECKING:
    from nrpurify.core.registry import Entry, Registry, Setting
    from nrpurify.purifiers import Design

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
        settings = _defaults(entry.settings, hidden="generator")  # it is made from the seed
        yield {"name": name, "source": entry.info.get("source", ""), "settings": settings}


def _defaults(settings: Mapping[str, Setting], hidden: str = "") -> dict[str, Any]:
    """Settings with their defaults; None where there is none."""
    return {
        name: None if str(one.default).startswith("<") else one.default
        for name, one in settings.items()
        if name != hidden
    }


def _shipped() -> list[str]:
    from nrpurify.purifiers import shipped

    return list(shipped())


def _purifiers() -> Iterable[Row]:
    from nrpurify.purifiers import DESIGNS, Design, load_purifier
    from nrpurify.purifiers.registry import PURIFIERS

    ready = _shipped()
    for name, design in DESIGNS.items():
        source = "shipped, trained" if name in ready else "a design, to be trained"
        yield {"name": name, "source": source, "settings": _arguments(design)}
    for name in ready:
        if name not in DESIGNS:  # weights of a design of another name, for another use
            card = load_purifier(name).card
            source = f"shipped, trained; a {card.training['recipe']['purifier']}"
            yield {"name": name, "source": source, "settings": _arguments(Design.of(card))}
    yield from map(_row, map(PURIFIERS.get, PURIFIERS.foreign_names()))


def _arguments(design: Design) -> dict[str, Any]:
    return {**_defaults(design.entry().settings), **design.arguments}


def _victims() -> Iterable[Row]:
    from nrpurify import weights
    from nrpurify.models.registry import VICTIMS
    from nrpurify.models.victims import COMMON, spec_settings

    foreign = VICTIMS.foreign_names()
    for name in VICTIMS.names():
        source = f"{name.removesuffix('_ridge')}, with a distilled head"
        if name in weights.names():
            source = weights.get(name).origin
        if name in foreign:
            source = VICTIMS.get(name).info.get("source", "")
        yield {"name": name, "source": source, "settings": _defaults(spec_settings(name))}
    for name, source in _OTHER_VICTIMS.items():
        yield {"name": name, "source": source, "settings": _defaults(spec_settings(name))}
    for name, source in _FUNCTIONS.items():
        yield {"name": name, "source": source, "settings": dict.fromkeys(COMMON)}


def _tasks() -> Iterable[Row]:
    from nrpurify.evaluation.tasks import TASKS

    return map(_row, map(TASKS.get, TASKS.names()))


def _metrics() -> Iterable[Row]:
    from nrpurify.evaluation.metrics import METRICS

    return map(_row, map(METRICS.get, METRICS.names()))


def _row(entry: Entry[Any]) -> Row:
    source = entry.info.get("source", "")
    return {"name": entry.name, "source": source, "settings": _defaults(entry.settings)}


_FUNCTIONS = {
    "python:MODULE:FUNCTION": "your function that returns a model; its parameters are settings",
    "FILE.py:FUNCTION": "the same, in a file",
}
_OTHER_VICTIMS = {
    "timm:NAME": "a classifier of timm",
    "torchvision:NAME": "a classifier of torchvision",
    "FILE.onnx": "an ONNX file, also as onnx:FILE",
}


def _detectors() -> Iterable[Row]:
    from nrpurify.models.detectors.registry import DETECTORS
    from nrpurify.models.detectors.zoo import torchvision_detector

    return _registered(DETECTORS, torchvision_detector)


def _segmenters() -> Iterable[Row]:
    from nrpurify.models.segmenters.registry import SEGMENTERS
    from nrpurify.models.segmenters.zoo import torchvision_segmenter

    yield from _registered(SEGMENTERS, torchvision_segmenter)
    source = "nrpurify train-segmenter"
    yield {"name": "FILE.safetensors", "source": source, "settings": {}}


def _registered(registry: Registry[Any], of_torchvision: Callable[..., Any]) -> Iterable[Row]:
    from nrpurify import weights
    from nrpurify.core.registry import Entry

    for entry in map(registry.get, registry.names()):
        known = weights.get(entry.name).origin if entry.name in weights.names() else ""
        yield {**_row(entry), "source": entry.info.get("source", known)}
    source = f"a {registry.kind} of torchvision"
    yield _row(Entry("torchvision:NAME", partial(of_torchvision, "NAME"), {"source": source}))
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
