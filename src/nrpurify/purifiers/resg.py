"""NRP-ResG: the smaller residual purifier (Table 3's attacker; published beside NRP)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier


class ResidualBlock(nn.Module):
    """conv-ReLU-conv around a residual connection, with weights that start small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_in")
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W to the same shape."""
        out: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return out


@register_purifier("resg")
class ResG(nn.Module):
    """Conv, residual blocks, conv: no skip from input to output.

    Args:
        width: Channels of the trunk.
        blocks: Number of residual blocks (23 in the published network: 1.7 M parameters).
    """

    multiple = 1

    def __init__(self, width: int = 64, blocks: int = 23) -> None:
        super().__init__()
        self.radius = 2 * blocks + 2
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W to the same shape; the output is not clamped."""
        trunk = self.recon_trunk(F.leaky_relu(self.conv_first(images), 0.1))
        purified: Tensor = self.conv_last(trunk)
        return purified
