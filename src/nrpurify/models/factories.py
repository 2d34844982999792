"""What makes a model by name: a registered entry, a library, or a function of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.plugins import file_sha256, load_factory
from nrpurify.core.registry import Entry, Registry, near_matches
from nrpurify.core.spec import is_factory_spec, parse_one

_Module = TypeVar("_Module", bound=nn.Module)
Libraries = Mapping[str, Callable[..., Any]]
"""Builders by the name before the colon, such as ``torchvision``; they take the name behind it."""


@dataclass(frozen=True)
class Source:
    """What makes a model, and the hash of the user's file that does it."""

    entry: Entry[Any]
    sha256: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else wrote it."""
        return not self.entry.is_own


def ready(model: _Module, device: torch.device | str | None, *, foreign: bool = False) -> _Module:
    """A model on its device, in eval mode, without weight gradients.

    Weights of convolutions are laid channels last, so that these take less time. A foreign model
    keeps its own order, since it may flatten what a convolution returns by ``x.view``.

    Args:
        model: Of any kind.
        device: Where to put it; None leaves it where it is.
        foreign: Whether neither this package nor a library that it knows wrote the network.
    """
    if not foreign:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                weight = module.weight
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return model.to(device).eval().requires_grad_(False)


def find_source(name: str, registry: Registry[Any], libraries: Libraries, kind: str) -> Source:
    """Look up what makes a model.

    Args:
        name: A registered one, ``LIBRARY:NAME``, ``python:package.module:function`` or
            ``path/to/file.py:function``.
        registry: Of its kind.
        libraries: Builders of other libraries' models.
        kind: What errors call the model, such as ``detector``.

    Raises:
        InputError: No such name; near matches are named.
        PluginError: A module or file cannot be imported.
    """
    library, _, rest = name.partition(":")
    if library in libraries and rest:
        return Source(Entry(name, partial(libraries[library], rest)))
    if is_factory_spec(name):
        found = load_factory(name)
        return Source(Entry(name, found.function, origin=found.origin), found.sha256)
    if name not in registry:
        places = [f"{library}:NAME" for library in libraries]
        others = ", ".join([*places, "python:package.module:function, path/to/file.py:function"])
        raise InputError(
            f"there is no {kind} {name!r}; {near_matches(name, registry.names())} (also {others})"
        )
    entry = registry.get(name)
    return Source(entry, "" if entry.is_own else file_sha256(sys.modules.get(entry.origin)))


def make_model(
    spec: str,
    registry: Registry[Any],
    libraries: Libraries,
    kind: str,
    *,
    pretrained: bool,
    options: Mapping[str, Any],
) -> tuple[Any, Source]:
    """Make a model from a spec, ``NAME[:SETTING=VALUE,...]``, and say what made it.

    Args:
        spec: The name is one for :func:`find_source`.
        registry: See there.
        libraries: See there.
        kind: See there.
        pretrained: Given to what takes it.
        options: Settings over those of the spec.

    Raises:
        InputError: No such name or setting.
        PluginError: A user's function failed; the message names it.
    """
    link = parse_one(spec, kind)
    source = find_source(link.name, registry, libraries, kind)
    settings = {**source.entry.converted(link.settings), **options}
    if "pretrained" in source.entry.settings:
        settings["pretrained"] = settings.get("pretrained", True) and pretrained
    return source.entry.make(**settings), source
