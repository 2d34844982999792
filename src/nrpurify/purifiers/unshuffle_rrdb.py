"""NRP's trunk behind pixel-unshuffle, at 1/16 of the paper's cost a block."""

from __future__ import annotations

from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier
from nrpurify.purifiers.rrdb import RRDB
from nrpurify.purifiers.unshuffle import start_as_identity


@register_purifier("unshuffle-rrdb")
class UnshuffleRRDB(nn.Module):
    """NRP's trunk behind pixel-unshuffle.

    Args:
        width: Channels of the trunk; at least ``3 * factor**2``.
        blocks: Number of RRDBs.
        growth: Growth of the dense blocks.
        factor: Side of the pixel blocks that become channels.
    """

    def __init__(self, width: int = 64, blocks: int = 4, growth: int = 32, factor: int = 4) -> None:
        super().__init__()
        self.multiple = factor
        self.radius = (15 * blocks + 3) * factor
        self.head = nn.Conv2d(3 * factor**2, width, 3, padding=1)
        self.trunk = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, 3 * factor**2, 3, padding=1)
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(factor), nn.PixelShuffle(factor)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data.mul_(0.1)
        start_as_identity(self.head, self.tail, 1.2**blocks)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of ``factor``, to the same shape; not clamped."""
        purified: Tensor = self.shuffle(self.tail(self.trunk(self.head(self.unshuffle(images)))))
        return purified
