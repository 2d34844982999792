"""The registry of purifier networks, and the designs made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from nrpurify.core.errors import InputError, PluginError
from nrpurify.core.model_card import Card
from nrpurify.core.registry import Entry, Registry, near_matches

PURIFIERS: Registry[nn.Module] = Registry(
    "purifier", package="nrpurify.purifiers", group="nrpurify.purifiers"
)
register_purifier = PURIFIERS.register
"""Decorate a network's class under the name of its architecture, which is a design too.

The network maps N×3×H×W images in [0, 1] to the same shape. ``multiple`` is the number that its
sides must be divisible by, ``radius`` how many pixels around an output pixel can change it. One
that has a ``scale`` makes the sides so many times longer. Its settings, numbers or lists of them,
go onto the checkpoint's card.
"""


@dataclass(frozen=True)
class Design:
    """An architecture with its arguments."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> Design:
        """The design on a card."""
        return cls(card.architecture, card.arguments)

    def entry(self, *, load_plugins: bool = False) -> Entry[nn.Module]:
        """Look the architecture up, and import its file.

        Args:
            load_plugins: Import an installed plug-in that has the architecture. A card's name does
                not: it runs no code that nobody named.

        Raises:
            InputError: The architecture does not exist, or its plug-in is not loaded.
        """
        name = self.architecture
        if name not in PURIFIERS:
            near = near_matches(name, PURIFIERS.names())
            raise InputError(
                f"no architecture {name!r}; {near} A plug-in's needs --plugin MODULE_OR_FILE"
            )
        return PURIFIERS.get(name, load_plugins=load_plugins)

    def build(self, *, load_plugins: bool = False) -> nn.Module:
        """Build the network with fresh weights, see :data:`register_purifier`.

        Args:
            load_plugins: See :meth:`entry`.

        Raises:
            InputError: The architecture does not exist or does not take these arguments.
        """
        entry = self.entry(load_plugins=load_plugins)
        try:
            return entry.make(**self.arguments)
        except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
            if isinstance(error, PluginError):
                raise
            raise InputError(
                f"architecture {self.architecture!r} does not take {self.arguments}: {error}"
            ) from error


DESIGNS: dict[str, Design] = {
    "nrp": Design("nrp"),
    "resg": Design("resg"),
    "unet": Design("unet"),
    "fast": Design(
        "detail-unet",
        {"widths": [96, 160, 256], "blocks": [2, 2, 2], "detail": 48, "detail_blocks": 5},
    ),
    "fast-v2": Design(
        "unshuffle-unet", {"widths": [64, 96, 160, 224], "blocks": [2, 2, 1, 1], "factor": 2}
    ),
    "tiny": Design("unshuffle-unet", {"widths": [64, 96, 160], "blocks": [1, 2, 2]}),
    "micro": Design("unshuffle-unet", {"widths": [48, 64, 96], "blocks": [1, 1, 1]}),
    "fast-rrdb": Design("unshuffle-rrdb", {"width": 64, "blocks": 4}),
    "hgd": Design("denoising-unet", {"width": 32, "levels": 4}),
    "ape-gan": Design("ape-gan", {"width": 64, "blocks": 4}),
    "edsr": Design("edsr", {"width": 32, "blocks": 8}),
}
"""Architectures with arguments, by name; a plug-in's architecture is a design by its own name."""


def design_names() -> list[str]:
    """All names of designs, plug-ins' among them."""
    return [*DESIGNS, *PURIFIERS.foreign_names()]


def design(name: str) -> Design:
    """Look a design up by name.

    Raises:
        InputError: No such name; near matches are named.
    """
    if name in DESIGNS:
        return DESIGNS[name]
    if name in PURIFIERS.foreign_names():
        return Design(name)
    raise InputError(f"no purifier design {name!r}; {near_matches(name, design_names())}")
