"""Attacks with their settings in one line of text, such as ``pgd:steps=40,step_size=2/255``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from nrpurify.attacks import registry
from nrpurify.attacks.registry import Entry
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.core.spec import convert, parse_one

_OF_THE_CALL = {"eps", "preset", "targets", "targeted"} | {
    "features",
    "generator",
    "amp",
    "callback",
}


def spec_settings(entry: Entry) -> dict[str, Any]:
    """The settings that a spec may name, with their defaults of the preset ``paper``."""
    defaults = entry.defaults()
    return {name: defaults.get(name) for name in entry.settings if name not in _OF_THE_CALL}


def read_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Take apart a spec: the attack's name and its converted settings.

    Args:
        spec: ``NAME`` or ``NAME:SETTING=VALUE,...``; distances may be fractions such as ``2/255``.

    Raises:
        InputError: No such attack or setting (near matches are named), or a value of a wrong kind.
    """
    link = parse_one(spec, "attack")
    entry = registry.get(link.name)
    known = spec_settings(entry)
    kinds = inspect.signature(entry.function).parameters
    settings = {}
    for name, text in link.settings.items():
        if name in ("eps", "preset"):
            raise InputError(f"{spec}: {name} is no setting of an attack; give it by --{name}")
        if name not in known:
            raise InputError(f"{entry.name} has no setting {name!r}; {near_matches(name, known)}")
        kind = str(kinds[name].annotation)
        settings[name] = convert(entry.name, name, text, known[name], kind)
    return entry.name, settings


def merge_settings(settings: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Settings of a spec together with options of the command line; None is an option not given.

    Raises:
        InputError: One is given in both places.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if twice := sorted(settings.keys() & given):
        raise InputError(
            f"{twice[0]} is given twice, as an option and in the attack; leave one of them out"
        )
    return {**given, **settings}
