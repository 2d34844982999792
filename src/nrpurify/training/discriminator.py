"""The discriminator C of Algorithm 2: five VGG-type blocks and a dense head (Sec. 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError


class Discriminator(nn.Module):
    """Judges whether crops are clean or purified.

    Each block is a 3×3 convolution and a 4×4 one of stride 2, with batch norm (not behind the
    very first) and LeakyReLU.

    Args:
        side: Side of the crops, a multiple of 32.
        widths: Channels of the blocks.

    Raises:
        InputError: ``side`` is not a multiple of 32.
    """

    def __init__(self, side: int = 128, widths: tuple[int, ...] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        factor = 2 ** len(widths)
        if side % factor or side < factor:
            raise InputError(
                f"crops have side {side}; the discriminator takes multiples of {factor}"
            )
        layers: list[nn.Module] = []
        inputs = 3
        for index, width in enumerate(widths):
            layers += _layer(inputs, width, size=3, stride=1, norm=index > 0)
            layers += _layer(width, width, size=4, stride=2, norm=True)
            inputs = width
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs * (side // factor) ** 2, 100)
        self.score = nn.Linear(100, 1)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×side×side in [0, 1] to N×1 logits, high for clean."""
        hidden = F.leaky_relu(self.hidden(self.features(images).flatten(1)), 0.2)
        score: Tensor = self.score(hidden)
        return score


class PairDiscriminator(nn.Module):
    """The discriminator's scores of purified and clean crops.

    Args:
        discriminator: Maps N×3×S×S crops to N×1 logits.
        joint: One batch of both halves, so that batch norm takes its statistics from the mixture;
            else each half is a batch of its own.
    """

    def __init__(self, discriminator: nn.Module, *, joint: bool = True) -> None:
        super().__init__()
        self.discriminator, self.joint = discriminator, joint

    def forward(self, purified: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Two N×3×S×S tensors in [0, 1] to two N×1 float32 logits, high for clean."""
        if self.joint:
            first, second = self.discriminator(torch.cat([purified, clean])).float().chunk(2)
            return first, second
        return self.discriminator(purified).float(), self.discriminator(clean).float()


def _layer(inputs: int, outputs: int, *, size: int, stride: int, norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=1)
    return [conv, *([nn.BatchNorm2d(outputs)] if norm else []), nn.LeakyReLU(0.2)]
