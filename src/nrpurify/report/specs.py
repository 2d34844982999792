"""Defenses' specs as they are shown: of a file's path, the part that distinguishes it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PATH = re.compile(r'"[^"]*/([^/"]+/[^/"]+)"|[^:=+,"]*/([^/:=+,"]+/[^/:=+,"]+)')


def shown(specs: Iterable[str]) -> dict[str, str]:
    """By spec what is shown of it: the last two parts of a path, unless two specs were then one."""
    short = {spec: _PATH.sub(_short, spec) for spec in specs}
    texts = list(short.values())
    return {spec: text if texts.count(text) == 1 else spec for spec, text in short.items()}


def _short(path: re.Match[str]) -> str:
    return f'"{path[1]}"' if path[1] else path[2]
