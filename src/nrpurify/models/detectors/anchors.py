"""Anchor boxes of the single-shot detector (Liu et al. 2016, arXiv 1512.02325, section 2.2)."""

import math

import torch
from torch import Tensor

GRIDS = (19, 10, 5, 3, 2, 1)
"""Sides of the six feature maps at 300 pixels."""
_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
_LOWEST, _HIGHEST = 0.2, 0.95


def _shapes(level: int, levels: int) -> list[tuple[float, float]]:
    """(height, width) of a level's anchors in shares of the image."""
    step = (_HIGHEST - _LOWEST) / (levels - 1)
    scales = [*(_LOWEST + step * k for k in range(levels)), 1.0]
    if level == 0:
        sizes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
    else:
        sizes = [(scales[level], ratio) for ratio in _RATIOS]
        sizes.append((math.sqrt(scales[level] * scales[level + 1]), 1.0))
    return [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for scale, ratio in sizes]


def anchors(grids: tuple[int, ...] = GRIDS) -> Tensor:
    """K×4 anchors as (center y, center x, height, width) in shares of the image.

    Ordered by level, row, column and shape: three a place on the first level, six on the others;
    1917 on the usual grids.
    """
    levels = []
    for level, side in enumerate(grids):
        centers = (torch.arange(side) + 0.5) / side
        shapes = torch.tensor(_shapes(level, len(grids)))
        y, x = (c.reshape(-1, 1) for c in torch.meshgrid(centers, centers, indexing="ij"))
        here = torch.cat((y, x), 1).repeat_interleave(len(shapes), 0)
        levels.append(torch.cat((here, shapes.repeat(side * side, 1)), 1))
    return torch.cat(levels)
