"""What transferable attacks do to inputs and gradients: input diversity and smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.random import chance, random_integer, uniform


def diverse_input(
    shape: torch.Size, probability: float, generator: Generator | None, *, growth: float = 1.1
) -> Callable[[Tensor], Tensor]:
    """Draw one input-diversity transformation (DIM, Xie et al., 2019).

    With ``probability`` the images are resized (nearest) to a random size in [s, growth·s) and
    zero-padded at a random place to growth·s; otherwise they are left alone. The drawn
    transformation can be applied to several tensors: a clean and an attacked image see the same.
    Zero is black here; the published code pads zeros of [-1, 1], which are mid-gray.

    Args:
        shape: N×3×H×W of the images.
        probability: In [0, 1].
        generator: Source of the draws, on the CPU.
        growth: Ratio of the padded to the given size.
    """
    if not chance(probability, generator):
        return lambda images: images
    height, width = shape[-2:]
    full_height, full_width = (math.ceil(round(side * growth, 6)) for side in (height, width))
    share = uniform(0, 1, generator)
    new_height = height + int(share * (full_height - height))
    new_width = width + int(share * (full_width - width))
    top = random_integer(0, full_height - new_height, generator)
    left = random_integer(0, full_width - new_width, generator)
    padding = (left, full_width - new_width - left, top, full_height - new_height - top)
    return lambda images: F.pad(F.interpolate(images, (new_height, new_width)), padding)


def gaussian_kernel(size: int = 15, reach: float = 3.0) -> Tensor:
    """The size×size kernel of translation-invariant attacks (Dong et al., 2019).

    The normal density at ``linspace(-reach, reach, size)`` in both directions, summing to one.

    Raises:
        InputError: ``size`` is not a positive odd number.
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"the Gaussian filter's size is {size}; expected an odd number from 1")
    places = torch.linspace(-reach, reach, size, device="cpu")
    line = torch.exp(-places.square() / 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def smoother(kernel: Tensor) -> Callable[[Tensor], Tensor]:
    """A filter of N×C×H×W tensors by an odd-sized ``kernel``, zero-padded to the same size.

    It computes in the precision of the tensor, under autocast too: a CPU takes minutes for a large
    kernel in bf16.
    """

    def smooth(gradient: Tensor) -> Tensor:
        channels = gradient.shape[1]
        weight = kernel.to(gradient).expand(channels, 1, *kernel.shape)
        with torch.autocast(gradient.device.type, enabled=False):
            return F.conv2d(gradient, weight, padding=kernel.shape[-1] // 2, groups=channels)

    return smooth
