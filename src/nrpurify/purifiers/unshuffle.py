"""The fast family: trunks that run behind pixel-unshuffle, at 1/16 of the paper's cost a block.

All start as (nearly) the identity, so that training starts at the attacked image itself and not at
noise. None has a skip from input to output: all of the image passes convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from nrpurify.core.tracing import in_functorch
from nrpurify.purifiers.registry import register_purifier
from nrpurify.purifiers.tiling import halve


def start_as_identity(head: nn.Conv2d, tail: nn.Conv2d, gain: float) -> None:
    """Let ``head`` copy its inputs into the first channels and ``tail`` read them back."""
    if head.weight.is_meta:  # its values are loaded later; dividing none would import sympy, 0.3 s
        return
    channels = head.in_channels
    with torch.no_grad():
        nn.init.dirac_(head.weight[:channels])
        nn.init.dirac_(tail.weight[:, :channels].zero_())
        tail.weight[:, channels:].zero_()
        tail.weight.div_(gain)
        for conv in (head, tail):
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


def for_convolutions(images: Tensor) -> Tensor:
    """Images in the type and memory format that convolutions want, so that none converts them.

    What is put beside features, too, must be in both, or all of them would be converted.
    """
    device = images.device.type
    if torch.is_autocast_enabled(device):
        images = images.to(torch.get_autocast_dtype(device))
    if in_functorch(images):  # vmap knows no memory formats
        return images
    return images.contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """conv-LeakyReLU-conv around a residual connection; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W to the same shape."""
        change: Tensor = self.conv2(self.act(self.conv1(x)))
        return change.add_(x)


@register_purifier("unshuffle-unet")
class UnshuffleUNet(nn.Module):
    """A residual U-Net behind pixel-unshuffle: wide context at a small cost.

    Args:
        widths: Channels of each level; the first at least ``3 * factor**2``.
        blocks: Residual blocks of each level, on the way down and again on the way up (the lowest
            level has them once).
        factor: Side of the pixel blocks that become channels.
    """

    def __init__(
        self,
        widths: Sequence[int] = (96, 160, 256),
        blocks: Sequence[int] = (2, 2, 2),
        factor: int = 4,
    ) -> None:
        super().__init__()
        lower = len(widths) - 1
        self.multiple = factor * 2**lower
        reach = sum((2 if level == lower else 4) * n * 2**level for level, n in enumerate(blocks))
        self.radius = factor * (reach + 2 * 2**lower + 3)
        self.head = nn.Conv2d(3 * factor**2, widths[0], 3, padding=1)
        self.encode = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(_upsample(b, a) for a, b in reversed(pairs))
        self.decode = nn.ModuleList(
            _blocks(w, n) for w, n in reversed(list(zip(widths[:-1], blocks, strict=False)))
        )
        self.tail = nn.Conv2d(widths[0], 3 * factor**2, 3, padding=1)
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(factor), nn.PixelShuffle(factor)
        start_as_identity(self.head, self.tail, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of ``multiple``, to the same shape; not clamped."""
        purified: Tensor = self.shuffle(self.tail(self.trunk(for_convolutions(images))))
        return purified

    def trunk(self, images: Tensor) -> Tensor:
        """The features from which ``tail`` makes the image, at 1/``factor`` of its sides."""
        x: Tensor = self.head(self.unshuffle(images))
        kept = []
        for encode, down in zip(self.encode, self.down, strict=False):
            x = encode(x)
            kept.append(x)
            x = halve(down, x)  # type: ignore[arg-type]
        x = self.encode[-1](x)
        for up, decode in zip(self.up, self.decode, strict=True):
            x = decode(up(x).add_(kept.pop()))
        return x


@register_purifier("detail-unet")
class DetailUNet(UnshuffleUNet):
    """:class:`UnshuffleUNet` with a second, shallow stage at half the image's sides.

    One pixel of the trunk stands for ``factor**2`` of the image: enough to know what is there, too
    coarse for the last fine detail. The second stage sees the image, what the trunk made of it and
    the trunk's features, and corrects. It starts by correcting nothing, so a trained trunk can be
    given one.

    Args:
        widths: As in the base class.
        blocks: As in the base class.
        factor: As in the base class; even, with ``widths[0]`` a multiple of ``factor**2 / 4``.
        detail: Channels of the second stage.
        detail_blocks: Its residual blocks.
    """

    def __init__(
        self,
        widths: Sequence[int] = (96, 160, 256),
        blocks: Sequence[int] = (2, 2, 2),
        factor: int = 4,
        detail: int = 32,
        detail_blocks: int = 3,
    ) -> None:
        super().__init__(widths, blocks, factor)
        half = factor // 2
        if half * 2 != factor or widths[0] % half**2:
            raise ValueError("factor must be even, and widths[0] a multiple of factor**2 / 4")
        self.radius += 2 * (2 + 2 * detail_blocks)
        self.enlarge = nn.PixelShuffle(half)
        self.fold, self.unfold = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.detail_head = nn.Conv2d(24 + widths[0] // half**2, detail, 3, padding=1)
        self.detail = _blocks(detail, detail_blocks)
        self.detail_tail = nn.Conv2d(detail, 12, 3, padding=1)
        nn.init.zeros_(self.detail_tail.weight)
        nn.init.zeros_(self.detail_tail.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W, sides multiples of ``multiple``, to the same shape; not clamped."""
        images = for_convolutions(images)
        features = self.trunk(images)
        coarse: Tensor = self.shuffle(self.tail(features))
        seen = torch.cat([self.fold(images), self.fold(coarse), self.enlarge(features)], 1)
        fine: Tensor = self.unfold(self.detail_tail(self.detail(self.detail_head(seen))))
        return fine.add_(coarse)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(count)))


def _upsample(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, 4 * outputs, 1)
    conv.weight.data.mul_(0.1)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.PixelShuffle(2))
