"""Xception (Chollet 2017, arXiv 1610.02357) as Keras builds it, batch norms folded."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.detectors.layers import Conv, Separable
from nrpurify.models.padding import pad_same
from nrpurify.models.registry import register_body

_ENTRY = ((64, 128), (128, 256), (256, 728))
_MIDDLE = 8


class Block(nn.Module):
    """Separable convolutions, each behind a ReLU, with a shortcut around them.

    Where ``stride`` is 2, a 3×3 max pooling follows and the shortcut is a 1×1 convolution.

    Args:
        widths: Channels before the first and after each convolution.
        stride: 1 or 2.
        first_relu: Whether a ReLU comes before the first convolution.
    """

    def __init__(self, widths: tuple[int, ...], stride: int, *, first_relu: bool = True) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Separable(a, b, 3) for a, b in pairwise(widths))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = Conv(widths[0], widths[-1], 1, stride)
        self.stride, self.first_relu = stride, first_relu

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×D×⌈H/stride⌉×⌈W/stride⌉."""
        out = x
        for index, conv in enumerate(self.convs):
            out = conv(F.relu(out) if index or self.first_relu else out)
        if self.stride > 1:
            out = F.max_pool2d(pad_same(out, 3, self.stride, float("-inf")), 3, self.stride)
        result: Tensor = out + self.shortcut(x)
        return result


@register_body("xception", layer="blocks.10")
class Xception(nn.Module):
    """The convolutions: layers ``stem``, ``blocks.0`` to ``blocks.11`` and ``last``.

    Takes N×3×H×W in [-1, 1], red-green-blue; sides of at least 71 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU())
        self.stem = nn.Sequential(*stem)
        entry = [Block((a, b, b), 2, first_relu=a > 64) for a, b in _ENTRY]
        middle = [Block((728,) * 4, 1) for _ in range(_MIDDLE)]
        self.blocks = nn.Sequential(*entry, *middle, Block((728, 728, 1024), 2))
        last = (Separable(1024, 1536, 3), nn.ReLU(), Separable(1536, 2048, 3), nn.ReLU())
        self.last = nn.Sequential(*last)

    def forward(self, x: Tensor) -> Tensor:
        """Features N×2048×⌈H/32⌉×⌈W/32⌉, about."""
        out: Tensor = self.last(self.blocks(self.stem(x)))
        return out
