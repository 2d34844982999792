"""What tells attacks of one name apart: settings that are not the same in all of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SETTINGS = (
    "layers",
    "preset",
    "purifier",
    "labels",
    "distance",
    "start",
    "momentum",
    "diversity",
    "smoothing",
    "restarts",
    "targets",
)
"""Settings that a table has no column for; budgets and steps have one."""


def variants(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each cell such as ``layers conv3_3``; empty where attack and threat have one setting.

    Args:
        cells: As ``run.json`` holds them.
    """
    known = [_settings(cell) for cell in cells]
    kinds = [(cell.get("attack"), cell.get("threat")) for cell in cells]
    found: dict[Any, dict[str, set[str]]] = {}
    for kind, settings in zip(kinds, known, strict=True):
        for name, value in settings.items():
            found.setdefault(kind, {}).setdefault(name, set()).add(value)
    return [
        ", ".join(f"{name} {text}" for name, text in own.items() if len(found[kind][name]) > 1)
        for kind, own in zip(kinds, known, strict=True)
    ]


def _settings(cell: Mapping[str, Any]) -> dict[str, str]:
    settings = cell.get("settings")
    if not isinstance(settings, Mapping):
        return {}
    return {name: _text(settings.get(name)) for name in _SETTINGS if name in settings}


def _text(value: Any) -> str:
    text = " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if text not in ("", "None") else "not given"
