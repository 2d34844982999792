"""A small EDSR that doubles the size, the second half of the SR defense (Lim et al., 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier
from nrpurify.purifiers.resg import ResidualBlock


@register_purifier("edsr")
class EDSR(nn.Module):
    """Conv, residual blocks with a skip around them, pixel-shuffle, conv: twice the size.

    It adds to the bicubically enlarged image, which the published network does not, and starts as
    that: it has something to say after a short training.

    Args:
        width: Channels of the trunk (64 in the published baseline).
        blocks: Number of residual blocks (16 there).
    """

    multiple = 1
    scale = 2

    def __init__(self, width: int = 32, blocks: int = 8) -> None:
        super().__init__()
        self.radius = 2 * blocks + 4
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.trunk = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W to N×3×2H×2W; not clamped."""
        size = [2 * side for side in images.shape[2:]]
        enlarged = F.interpolate(images, size, mode="bicubic", align_corners=False)
        x = self.head(images)
        x = x + self.body(self.trunk(x))
        detail: Tensor = self.tail(self.shuffle(self.up(x)))
        return enlarged + detail
