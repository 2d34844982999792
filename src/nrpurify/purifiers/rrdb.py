"""The paper's NRP: a full-resolution trunk of residual-in-residual dense blocks (Sec. 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier


class DenseBlock(nn.Module):
    """Five 3×3 convolutions, each fed by all before it; the last returns to the input's width.

    Args:
        width: Channels of input and output.
        growth: Channels that each of the first four convolutions adds.
    """

    def __init__(self, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        for index in range(5):
            outputs = growth if index < 4 else width
            layer = nn.Conv2d(width + index * growth, outputs, 3, padding=1)
            self.add_module(f"conv{index + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W to the same shape."""
        features = [x]
        *hidden, last = self.children()
        for conv in hidden:
            features.append(F.leaky_relu(conv(torch.cat(features, 1)), 0.2))
        out: Tensor = x + 0.2 * last(torch.cat(features, 1))
        return out


class RRDB(nn.Module):
    """Three dense blocks with a scaled residual connection around them."""

    def __init__(self, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(width, growth)
        self.RDB2 = DenseBlock(width, growth)
        self.RDB3 = DenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W to the same shape."""
        out: Tensor = x + 0.2 * self.RDB3(self.RDB2(self.RDB1(x)))
        return out


@register_purifier("nrp")
class NRP(nn.Module):
    """Conv, RRDBs, conv: no normalization, no skip from input to output.

    Args:
        width: Channels of the trunk.
        blocks: Number of RRDBs (the paper's network has 23: 16.6 M parameters).
        growth: Growth of the dense blocks.
    """

    multiple = 1

    def __init__(self, width: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.radius = 15 * blocks + 2
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W to the same shape; the output is not clamped."""
        purified: Tensor = self.conv_last(self.RRDB_trunk(self.conv_first(images)))
        return purified
