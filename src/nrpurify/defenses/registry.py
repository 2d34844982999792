"""Defenses by name, and made from specs such as ``jpeg:quality=75+fast``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, nn

from nrpurify.core.errors import InputError
from nrpurify.core.spec import Link, convert, is_file, parse
from nrpurify.defenses.chain import Chain
from nrpurify.defenses.jpeg import JPEG
from nrpurify.defenses.median import Median
from nrpurify.defenses.nips_r3 import NeurIPSr3
from nrpurify.defenses.noise import GaussianNoise
from nrpurify.defenses.rp import RandomPad
from nrpurify.defenses.trained import purifier, super_resolution, trained
from nrpurify.defenses.tvm import TVM
from nrpurify.defenses.wavelet import Wavelet
from nrpurify.purifiers import DESIGNS, shipped


@dataclass(frozen=True)
class Entry:
    """A defense and what it needs.

    Attributes:
        name: As in specs.
        build: Makes it from its settings and, when it is random, a ``generator``.
        source: Who described it.
        differentiable: Whether it has a gradient; else it is attacked by BPDA.
    """

    name: str
    build: Callable[..., nn.Module]
    source: str
    differentiable: bool = True

    @property
    def random(self) -> bool:
        """Whether it draws; then its spec takes a ``seed``."""
        return "generator" in inspect.signature(self.build).parameters

    @property
    def defaults(self) -> dict[str, Any]:
        """Its settings with their defaults."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.name != "generator"}


_ENTRIES = (
    Entry("none", lambda: nn.Identity(), "no defense"),
    Entry("jpeg", JPEG, "Guo et al., 2018", differentiable=False),
    Entry("tvm", TVM, "Guo et al., 2018", differentiable=False),
    Entry("median", Median, "Xu et al., 2018"),
    Entry("rp", RandomPad, "Xie et al., 2018"),
    Entry("nips-r3", NeurIPSr3, "Thomas and Elibol, 2017", differentiable=False),
    Entry("noise", GaussianNoise, "control"),
    Entry("wavelet", Wavelet, "Mustafa et al., 2019, without its network", differentiable=False),
    Entry("sr", super_resolution, "Mustafa et al., 2019", differentiable=False),
    Entry("hgd", partial(trained, "hgd"), "Liao et al., 2018"),
    Entry("ape-gan", partial(trained, "ape-gan"), "Jin et al., 2019"),
    Entry("gnp", partial(trained, "gnp"), "Naseer et al., 2020, Fig. 5"),
    Entry("fgsp", partial(trained, "fgsp"), "Naseer et al., 2020, Fig. 5"),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def names() -> list[str]:
    """All names but those of purifiers; those of :func:`nrpurify.purifiers.shipped` work too."""
    return list(_BY_NAME)


def get(name: str) -> Entry:
    """Look a defense up: one of :func:`names`, a shipped purifier or a checkpoint file.

    Raises:
        InputError: No such defense; near matches are named.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in shipped() or is_file(name):
        return Entry(name, partial(purifier, name), "by the method of Naseer et al., 2020")
    known = [*_BY_NAME, *shipped()]
    near = difflib.get_close_matches(name, known, cutoff=0.5) or known
    hint = f" ({name} is a purifier's design: train it first)" if name in DESIGNS else ""
    raise InputError(
        f"no defense {name!r}{hint}; did you mean {', '.join(near)}? A purifier's file works too"
    )


def settings(spec: str) -> list[dict[str, Any]]:
    """What a spec decides, for the record: each link's name and all its settings.

    Raises:
        InputError: As :func:`make`, but for values out of their range.
    """
    return [{"name": link.name, **_arguments(link)} for link in parse(spec)]


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
        :func:`nrpurify.protect` honors.

    Raises:
        InputError: An unknown name or setting (near matches are named), or a bad value.
        MissingExtraError: scikit-image or PyWavelets is needed.
        WeightsError: A checkpoint cannot be read.
    """
    parts = [_build(link, seed + place) for place, link in enumerate(parse(spec))]
    defense = parts[0] if len(parts) == 1 else Chain(*parts)
    return defense.to(device).eval()


def _build(link: Link, seed: int) -> nn.Module:
    entry, arguments = get(link.name), _arguments(link)
    if entry.random:
        own = arguments.pop("seed", seed)
        arguments["generator"] = Generator().manual_seed(own)
    try:
        return entry.build(**arguments)
    except InputError as error:
        raise InputError(f"{link.name}: {error}") from error


def _arguments(link: Link) -> dict[str, Any]:
    entry = get(link.name)
    chosen = dict(entry.defaults)
    known = {**chosen, "seed": 0} if entry.random else chosen
    for key, text in link.settings.items():
        if key not in known:
            raise InputError(f"{link.name} has no setting {key!r}; {_near(key, list(known))}")
        chosen[key] = convert(link.name, key, text, known[key])
    return chosen


def _near(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, cutoff=0.4) or known
    return f"did you mean {', '.join(near)}?" if near else "it has none"
