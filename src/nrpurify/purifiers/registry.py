"""Purifier networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.model_card import Card
from nrpurify.purifiers.ape_gan import APEGenerator
from nrpurify.purifiers.edsr import EDSR
from nrpurify.purifiers.resg import ResG
from nrpurify.purifiers.rrdb import NRP
from nrpurify.purifiers.unet import DenoisingUNet, UNet
from nrpurify.purifiers.unshuffle import DetailUNet, UnshuffleRRDB, UnshuffleUNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "ape-gan": APEGenerator,
    "denoising-unet": DenoisingUNet,
    "detail-unet": DetailUNet,
    "edsr": EDSR,
    "nrp": NRP,
    "resg": ResG,
    "unet": UNet,
    "unshuffle-rrdb": UnshuffleRRDB,
    "unshuffle-unet": UnshuffleUNet,
}


@dataclass(frozen=True)
class Design:
    """An architecture with its arguments."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> Design:
        """The design on a card."""
        return cls(card.architecture, card.arguments)

    def build(self) -> nn.Module:
        """Build the network with fresh weights.

        It maps N×3×H×W to the same shape; ``multiple`` is what its sides must be divisible by,
        ``radius`` how many pixels around an output pixel can change it. One that has a ``scale``
        makes the sides so many times longer.

        Raises:
            InputError: The architecture does not exist or does not take these arguments.
        """
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"no architecture {self.architecture!r}; expected one of {known}")
        try:
            return ARCHITECTURES[self.architecture](**self.arguments)
        except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
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
    "tiny": Design("unshuffle-unet", {"widths": [64, 96, 160], "blocks": [1, 2, 2]}),
    "micro": Design("unshuffle-unet", {"widths": [48, 64, 96], "blocks": [1, 1, 1]}),
    "fast-rrdb": Design("unshuffle-rrdb", {"width": 64, "blocks": 4}),
    "hgd": Design("denoising-unet", {"width": 32, "levels": 4}),
    "ape-gan": Design("ape-gan", {"width": 64, "blocks": 4}),
    "edsr": Design("edsr", {"width": 32, "blocks": 8}),
}


def design(name: str) -> Design:
    """Look a design up by name.

    Raises:
        InputError: No such name.
    """
    if name not in DESIGNS:
        raise InputError(f"no purifier design {name!r}; expected one of {', '.join(DESIGNS)}")
    return DESIGNS[name]
