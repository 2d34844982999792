"""Models that a user's own function makes."""

from __future__ import annotations

from typing import Any

from nrpurify.core.plugins import Factory, load_factory
from nrpurify.core.registry import Entry
from nrpurify.core.spec import parse_one


def call_factory(spec: str) -> tuple[Any, Factory]:
    """What ``python:package.module:function`` or ``file.py:function`` makes, and the function.

    Args:
        spec: With the function's settings behind a colon.

    Raises:
        InputError: No such module, file, function or setting.
        PluginError: The function failed; the message names it.
    """
    link = parse_one(spec, "model")
    found = load_factory(link.name)
    entry: Entry[Any] = Entry(link.name, found.function, origin=found.origin)
    return entry.make(**entry.converted(link.settings)), found
