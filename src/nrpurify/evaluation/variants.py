"""What tells attacks of one name apart: settings that are not the same in all of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nrpurify.attacks import registry

_SHARED = ("layers", "preset", "purifier", "bpda", "labels", "targets", "trained")
"""Settings that attacks of every name have."""
_ELSEWHERE = {"steps"}
"""Settings for which tables have columns."""


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
        ", ".join(
            f"{name.replace('_', ' ')} {text}"
            for name, text in own.items()
            if len(found[kind][name]) > 1
        )
        for kind, own in zip(kinds, known, strict=True)
    ]


def _settings(cell: Mapping[str, Any]) -> dict[str, str]:
    settings = cell.get("settings")
    if not isinstance(settings, Mapping):
        return {}
    known = dict.fromkeys((*_SHARED, *_own_settings(cell.get("attack"))))
    return {name: _text(settings[name]) for name in known if name in settings}


def _own_settings(attack: object) -> list[str]:
    if attack not in registry.names():
        return []
    return [name for name in registry.get(str(attack)).settings if name not in _ELSEWHERE]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    text = " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if text not in ("", "None") else "not given"
