"""APE-GAN's generator: the image through a small code and back (Jin et al., 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier
from nrpurify.purifiers.resg import ResidualBlock


@register_purifier("ape-gan")
class APEGenerator(nn.Module):
    """Two convolutions of stride 2, residual blocks, two transposed convolutions of stride 2.

    As published it has batch norm behind its layers and nothing between them; here residual blocks
    take that place, so that one image's result does not depend on others.

    Args:
        width: Channels at half the size; the quarter size has twice as many.
        blocks: Number of residual blocks.
    """

    multiple = 4

    def __init__(self, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.radius = 8 * blocks + 12
        self.down1 = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.trunk = nn.Sequential(*(ResidualBlock(2 * width) for _ in range(blocks)))
        self.up1 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of 4, to the same shape, in [0, 1]."""
        x = F.leaky_relu(self.down1(images), 0.2)
        x = self.trunk(F.leaky_relu(self.down2(x), 0.2))
        x = self.up2(F.relu(self.up1(x)))
        return (torch.tanh(x) + 1) / 2
