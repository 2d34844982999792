"""Attacks with their settings in one line of text, such as ``pgd:steps=40,step_size=2/255``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrpurify.attacks import registry
from nrpurify.attacks.registry import AttackEntry
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.core.spec import parse_one

OF_THE_CALL = {"targeted", "features"}
"""Settings for which commands have options: labels and targets, and layers."""


def spec_settings(entry: AttackEntry) -> dict[str, Any]:
    """The settings that a spec may name, with their defaults of the preset ``paper``."""
    return {name: value for name, value in entry.defaults().items() if name not in OF_THE_CALL}


def settings_in_force(
    entry: AttackEntry, preset: str, given: Mapping[str, Any], norm: str = "linf"
) -> dict[str, Any]:
    """The settings of a preset with ``given`` over them, and the number of steps of any attack.

    Raises:
        InputError: No such preset or setting, or a value that is refused.
    """
    attack = entry.create(preset, **given)
    steps = {"steps": attack.steps} if hasattr(attack, "steps") else {}  # 1 is no setting of FGSM
    own = {name: value for name, value in attack.in_force(norm).items() if name not in OF_THE_CALL}
    return {**steps, **own}


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
    for name in link.settings:
        if name in ("eps", "preset"):
            raise InputError(f"{spec}: {name} is no setting of an attack; give it by --{name}")
        if name not in known:
            raise InputError(f"{entry.name} has no setting {name!r}; {near_matches(name, known)}")
    return entry.name, entry.entry.converted(link.settings)


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
