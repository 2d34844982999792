"""What a segmenter in training sees: random views of labeled images."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.random import chance, random_integer, uniform
from nrpurify.data.masks import ClassTable, Pair, Sample, read_sample


def read_labeled(pair: Pair, table: ClassTable) -> Sample:
    """Read one pair.

    Raises:
        InputError: It cannot be used; faulty training data must be mended, it is not skipped.
    """
    sample = read_sample(pair, table)
    if not isinstance(sample, Sample):
        raise InputError(f"{sample.text}; mend it or take it out of the training folder")
    return sample


def random_view(
    sample: Sample,
    size: tuple[int, int],
    scale: tuple[float, float],
    jitter: float,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Cut, resize, mirror and recolor: 3×``size`` in [0, 1] and its int64 mask.

    Args:
        sample: Image and mask.
        size: Height and width of the view.
        scale: Least and greatest factor by which the image is resized; drawn evenly in its
            logarithm.
        jitter: Greatest relative change of brightness, contrast, saturation and gamma.
        generator: Source of the draws.
    """
    low, high = (math.log(s) for s in scale)
    factor = math.exp(uniform(low, high, generator))
    height, width = (
        min(round(wanted / factor), side)
        for wanted, side in zip(size, sample.mask.shape, strict=True)
    )
    top = random_integer(0, sample.mask.shape[0] - height, generator)
    left = random_integer(0, sample.mask.shape[1] - width, generator)
    image = sample.image[:, top : top + height, left : left + width]
    mask = sample.mask[top : top + height, left : left + width]
    image = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[
        0
    ].clamp(0, 1)
    mask = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    if chance(0.5, generator):
        image, mask = image.flip(2), mask.flip(1)
    return recolor(image, jitter, generator), mask


def recolor(image: Tensor, jitter: float, generator: Generator) -> Tensor:
    """Change gamma, brightness, contrast and saturation of 3×H×W in [0, 1] by up to ``jitter``."""
    gamma, brightness, contrast, saturation = (
        1 + jitter * (2 * uniform(0, 1, generator) - 1) for _ in range(4)
    )
    image = image.clamp(min=1e-3) ** gamma * brightness
    image = image.mean() + contrast * (image - image.mean())
    grey = image.mean(0, keepdim=True)
    return (grey + saturation * (image - grey)).clamp(0, 1)
