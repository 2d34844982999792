"""Bilinear, antialiased resizing of images, also where their sides are left open."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.core.precision import at_least_fp32
from nrpurify.core.tracing import exporting


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """N×C×H×W images as N×C×height×width, the whole image, in their own type.

    While ``torch.export`` traces, the same weights are applied as two matrix products: its program
    then holds for any sides, and runtimes need no antialiased resizing of their own.

    Args:
        images: N×C×H×W.
        size: Height and width of the result.
    """
    given = at_least_fp32(images)  # on the CPU resizing knows no half precision
    if not exporting():
        resized = F.interpolate(given, size, mode="bilinear", align_corners=False, antialias=True)
        return resized.to(images.dtype)
    rows, columns = (
        _weights(side, goal, given) for side, goal in zip(images.shape[2:], size, strict=True)
    )
    return (rows @ given @ columns.T).to(images.dtype)


def _weights(side: int, goal: int, like: Tensor) -> Tensor:
    """goal×side weights of a triangle as wide as two pixels of the coarser of both grids."""
    steps = torch.arange(goal, device=like.device, dtype=like.dtype)
    places = torch.arange(side, device=like.device, dtype=like.dtype)
    scale = torch.ones_like(places).sum() / goal
    centers = (steps + 0.5) * scale - 0.5
    distance = (places - centers[:, None]).abs() / scale.clamp(min=1)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
