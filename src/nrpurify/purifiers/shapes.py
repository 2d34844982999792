"""Sides of images as multiples, also where ``torch.export`` leaves them open."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.tracing import exporting


def pad_to_multiple(images: Tensor, multiple: int, mode: str = "constant") -> Tensor:
    """Pad N×C×H×W right and at the bottom until its sides are multiples.

    Args:
        images: N×C×H×W.
        multiple: Of it.
        mode: ``constant`` for zeros, or ``replicate`` for the values at the border.
    """
    height, width = images.shape[-2:]
    # Written so that for torch.export the padded side is a plain product.
    high, wide = (multiple * ((side + multiple - 1) // multiple) for side in (height, width))
    if exporting() and mode == "replicate":  # F.pad would ask whether there is something to pad
        rows, columns = (
            torch.arange(longer, device=images.device).clamp(max=side - 1)
            for longer, side in ((high, height), (wide, width))
        )
        return images.index_select(-2, rows).index_select(-1, columns)
    if exporting() or high != height or wide != width:
        return F.pad(images, (0, wide - width, 0, high - height), mode=mode)
    return images


def crop(images: Tensor, height: int, width: int) -> Tensor:
    """The upper left height×width pixels of N×C×H×W images."""
    if exporting():  # a view would ask whether it is contiguous
        for axis, side in ((-2, height), (-1, width)):
            images = images.index_select(axis, torch.arange(side, device=images.device))
        return images
    return images[..., :height, :width]


def halve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3×3 convolution of stride 2 and padding 1 on even sides.

    While exporting, the zeros are put left and above by hand: those on the other sides meet no
    kernel, and without them the length of the result is a plain half of the side.
    """
    if not exporting():
        return conv(x)  # type: ignore[no-any-return]
    return F.conv2d(F.pad(x, (1, 0, 1, 0)), conv.weight, conv.bias, stride=2)
