"""Means over windows of an image: average pooling at stride 1, in a third of its time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.core.tracing import in_functorch


def window_mean(x: Tensor, side: int) -> Tensor:
    """The mean of N×C×H×W values over side×side windows, ``side`` odd, of what lies inside.

    It is computed in the precision of ``x``, under autocast too.
    """
    if not in_functorch(x):  # vmap knows no memory formats
        x = x.contiguous(memory_format=torch.channels_last)  # else it takes six times as long
    height, width = (_inside(length, side, x) for length in x.shape[2:])
    with torch.autocast(x.device.type, enabled=False):
        total = _sums(_sums(x, side, 1), 1, side) if side > 3 else _sums(x, side, side)
    return total / (height[:, None] * width)


def _sums(x: Tensor, height: int, width: int) -> Tensor:
    kernel = x.new_ones(x.shape[1], 1, height, width)
    return F.conv2d(x, kernel, padding=(height // 2, width // 2), groups=x.shape[1])


def _inside(length: int, side: int, like: Tensor) -> Tensor:
    """How many places of a window around each place lie inside."""
    before = torch.arange(length, device=like.device).clamp(max=side // 2)
    return (before + before.flip(0) + 1).to(like.dtype)
