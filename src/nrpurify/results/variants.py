"""What distinguishes attacks of one name: settings that are not the same in all of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FACTS = frozenset(
    {"eps", "steps", "generator", "amp", "callback", "precision", "seed", "group", "domain"}
    | {"random", "passes", "seen_in_training", "classes", "in_mean", "zero", "broken"}
    | {"gradients", "adversaries", "attack_seconds", "weights_sha256", "longest", "resamples"}
    | {"attacked_sha256"}
)
"""Settings that have a column of their own, or tell of defense, victim and images."""
_FIRST = ("layers", "preset", "purifier", "bpda", "labels", "targets", "trained")
"""Settings that attacks of every name have."""


def variants(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each cell such as ``layers conv3_3``; empty where attack and threat have one setting.

    The label that a plan gives an attack takes the place of its settings.

    Args:
        cells: Results, or the objects that ``run.json`` holds.
    """
    known = [_settings(cell) for cell in cells]
    kinds = [(cell.get("attack"), cell.get("threat")) for cell in cells]
    found: dict[Any, dict[str, dict[str, str]]] = {}
    for kind, settings in zip(kinds, known, strict=True):
        for name, value in settings.items():
            found.setdefault(kind, {}).setdefault(name, {})[_exact(value)] = _text(value)
    texts = [
        ", ".join(
            f"{name.replace('_', ' ')} {_apart(value, found[kind][name])}"
            for name, value in own.items()
            if len(found[kind][name]) > 1
        )
        for kind, own in zip(kinds, known, strict=True)
    ]
    return [str(cell.get("label") or text) for cell, text in zip(cells, texts, strict=True)]


def _settings(cell: Mapping[str, Any]) -> dict[str, Any]:
    settings = cell.get("settings")
    if not isinstance(settings, Mapping):
        return {}
    known = dict.fromkeys((*_FIRST, *settings))
    return {name: settings[name] for name in known if name in settings and name not in _FACTS}


def _apart(value: Any, texts: Mapping[str, str]) -> str:
    """The short text of a value, or all its digits where another value has the same short text."""
    short = _text(value)
    return short if list(texts.values()).count(short) == 1 else _exact(value)


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    text = " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if text not in ("", "None") else "not given"
