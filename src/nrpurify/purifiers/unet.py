"""U-Nets: a purifier (Table 3's second attacker; Ronneberger et al., 2015) and HGD's denoiser."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from nrpurify.purifiers.registry import register_purifier


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )


@register_purifier("unet")
class UNet(nn.Module):
    """Encoder and decoder with connections between levels of equal size, none around the whole.

    Args:
        width: Channels of the first level; each lower one has twice as many.
        levels: Number of levels below the first.
    """

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        self.multiple = 2**levels
        self.radius = 5 * 2**levels + sum(4 * 2**level for level in range(levels)) + 1
        widths = [width * 2**level for level in range(levels + 1)]
        pairs = list(pairwise(widths))
        self.first = _double_conv(3, width)
        self.down = nn.ModuleList(_double_conv(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(_double_conv(2 * a, a) for a, _ in reversed(pairs))
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of ``2**levels``, to the same shape; not clamped."""
        x = self.first(images)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(self.pool(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        purified: Tensor = self.last(x)
        return purified


@register_purifier("denoising-unet")
class DenoisingUNet(UNet):
    """HGD's denoiser (Liao et al., 2018): a U-Net whose output is added to the image.

    It starts as the identity. The published network has batch norm, this one has none.

    Args:
        width: Channels of the first level; each lower one has twice as many.
        levels: Number of levels below the first.
    """

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__(width, levels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of ``2**levels``, to the same shape; not clamped."""
        return images + super().forward(images)
