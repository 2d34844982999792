"""Defenses made from specs such as ``jpeg:quality=75+fast``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from nrpurify.core.callables import as_module
from nrpurify.core.errors import InputError
from nrpurify.core.registry import MISSING, Entry, near_matches
from nrpurify.core.spec import Link, convert, is_file, parse, split_specs
from nrpurify.defenses.chain import Chain
from nrpurify.defenses.checked import Checked
from nrpurify.defenses.registry import DEFENSES
from nrpurify.defenses.trained import purifier
from nrpurify.purifiers import load_purifier, shipped
from nrpurify.purifiers.checkpoint import is_path, no_file
from nrpurify.purifiers.registry import design_names

_GENERATOR = "generator"


def names() -> list[str]:
    """All names but those of purifiers; those of :func:`nrpurify.purifiers.shipped` work too."""
    return DEFENSES.names()


def get(name: str) -> Entry[nn.Module]:
    """Look a defense up: one of :func:`names`, a shipped purifier or a checkpoint file.

    Its ``info`` has ``source``, and ``differentiable`` where it is False: such a defense has no
    gradient and is attacked by BPDA.

    Raises:
        InputError: No such defense; near matches are named.
        PluginError: The plug-in that has it cannot be imported.
    """
    if name in DEFENSES:
        return DEFENSES.get(name)
    if is_exported(name):
        return Entry(name, partial(_exported, name), {"source": "a file", "differentiable": False})
    if name in shipped() or is_file(name):
        info = {"source": "by the method of Naseer et al., 2020"}
        return Entry(name, partial(purifier, name), info)
    several = split_specs(name)
    if len(several) > 1 and {*several} & {*names(), *shipped()}:
        raise InputError(
            f"no defense {name!r}; for {len(several)} defenses repeat --defense (in a plan write a "
            f"list), or join them to one chain by +: {'+'.join(several)}"
        )
    if is_path(name):
        raise InputError(
            f"no defense {name!r}: {no_file(name)}; expected a name or a purifier's file"
        )
    hint = f" ({name} is a purifier's design: train it first)" if name in design_names() else ""
    near = near_matches(name, [*names(), *shipped()])
    raise InputError(f"no defense {name!r}{hint}; {near} (or a purifier's file)")


def is_exported(name: str) -> bool:
    """Whether a name is a file of ``nrpurify export`` that can be a defense."""
    return name.lower().endswith((".onnx", ".xml")) and is_file(name)


def _exported(source: str) -> nn.Module:
    from nrpurify.defenses.exported import ExportedPurifier  # needs numpy alone when unused

    return ExportedPurifier(source)


def is_random(entry: Entry[nn.Module]) -> bool:
    """Whether a defense draws; then its spec takes a ``seed``."""
    return _GENERATOR in entry.settings


def defaults(entry: Entry[nn.Module]) -> dict[str, Any]:
    """A defense's settings that have a default."""
    return {
        setting.name: setting.default
        for setting in entry.settings.values()
        if setting.name != _GENERATOR and setting.default is not MISSING
    }


def settings(spec: str) -> list[dict[str, Any]]:
    """What a spec decides, for the record: each link's name and all its settings.

    Raises:
        InputError: As :func:`make`, but for values out of their range.
    """
    return [{"name": link.name, **_arguments(link)} for link in parse(spec)]


def as_defense(given: str | Path | Callable[[Tensor], Tensor]) -> nn.Module:
    """A defense from whatever names or is one.

    Args:
        given: A spec as for :func:`make`, a file, or a module or function from images to images.

    Raises:
        InputError: As :func:`make`, or something that cannot be called.
        WeightsError: A file cannot be read.
    """
    if isinstance(given, Path):
        return make(str(given)) if is_exported(str(given)) else load_purifier(given)
    expected = "a module or function, a file, or a name such as 'fast'"
    return make(given) if isinstance(given, str) else as_module(given, "defense", expected)


def make(spec: str, *, device: torch.device | str | None = None, seed: int = 0) -> nn.Module:
    """Make a defense from its spec, in eval mode.

    >>> make("jpeg:quality=50+median").passes
    1

    A spec is ``NAME`` or ``NAME:SETTING=VALUE,...``; several, joined by ``+``, are applied from
    left to right. Numbers may be fractions (``eps=16/255``).

    Args:
        spec: ``none``, one of :func:`names`, a shipped purifier's name or a checkpoint file.
        device: Where to put it.
        seed: Of random links that do not name a ``seed``; the second link of a chain gets the next
            one, and so on.

    Returns:
        A module from N×3×H×W images in [0, 1] to N×3×H'×W' ones. One that wants several passes
        over the victim has ``passes`` above 1 and ``combine`` (``mean`` or ``vote``), which
        :func:`nrpurify.protect` honors. A plug-in's is checked at each call, see
        :class:`nrpurify.defenses.checked.Checked`.

    Raises:
        InputError: An unknown name or setting (near matches are named), or a bad value.
        MissingExtraError: scikit-image or PyWavelets is needed.
        PluginError: A plug-in failed.
        WeightsError: A checkpoint cannot be read.
    """
    parts = [_build(link, seed + place) for place, link in enumerate(parse(spec))]
    defense = parts[0] if len(parts) == 1 else Chain(*parts)
    return defense.to(device).eval()


def _build(link: Link, seed: int) -> nn.Module:
    entry, arguments = get(link.name), _arguments(link)
    if is_random(entry):
        own = arguments.pop("seed", seed)
        arguments[_GENERATOR] = Generator().manual_seed(own)
    try:
        made = entry.make(**arguments)
    except InputError as error:
        if not entry.is_own:  # it has the plug-in's name
            raise
        raise InputError(f"{link.name}: {error}") from error
    if entry.is_own:
        return made
    return Checked(as_module(made, f"the defense {link.name}"), link.name, entry.origin)


def _arguments(link: Link) -> dict[str, Any]:
    entry = get(link.name)
    given = dict(link.settings)
    seed = {}
    if is_random(entry) and "seed" in given:
        seed["seed"] = convert(link.name, "seed", given.pop("seed"), 0)
    if _GENERATOR in given:
        raise InputError(f"{link.name} has no setting 'generator'; did you mean seed?")
    return {**defaults(entry), **entry.converted(given), **seed}
