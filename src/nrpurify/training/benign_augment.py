"""Benign edits of photos: other resizing kernels, sharpness, colors, JPEG, slight noise.

The gate must see these edits in training, or it flags them as attacks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.random import chance, random_integer, uniform
from nrpurify.defenses.jpeg import JPEG
from nrpurify.purifiers.strength import window_mean
from nrpurify.training.photos import KERNELS, random_crop

SHARPENED, MOST_SHARP = 0.35, 1.5
"""Share of the crops that are sharpened, and greatest factor of their 3×3 detail beyond 1."""
CONTRASTED, CONTRASTS = 0.3, (0.7, 1.4)
COLORED, COLORS = 0.2, (0.0, 1.5)
"""Shares of the crops whose contrast or color is changed, and the factors."""
RECODED, NOISY = 0.15, 0.1
"""Shares of the crops that are coded as JPEG, or get noise as of a sensor."""
QUALITIES = (70, 95)
MOST_NOISE = 2 / 255
"""Greatest standard deviation of that noise; an attack of 4/255 has twice as much."""


def benign_crops(
    photos: list[Path], count: int, side: int, resize: tuple[int, int], generator: Generator
) -> Tensor:
    """N×3×side×side crops in [0, 1], each resized by a kernel of its own.

    See :func:`nrpurify.training.photos.random_crop` for the arguments and errors.
    """
    return torch.stack([_crop(photos, side, resize, generator) for _ in range(count)])


def _crop(photos: list[Path], side: int, resize: tuple[int, int], generator: Generator) -> Tensor:
    kernel = KERNELS[random_integer(0, len(KERNELS) - 1, generator)]
    return random_crop(photos, side, resize, generator, kernel)


def retouch(images: Tensor, generator: Generator) -> Tensor:
    """Sharpen some of N×3×H×W images in [0, 1], change contrast or color of some, leave others."""
    return torch.stack([_retouched(image, generator) for image in images])


def degrade(images: Tensor, generator: Generator) -> Tensor:
    """Code some of N×3×H×W images in [0, 1] as JPEG, or add slight noise; round all to 8 bits."""
    return torch.stack([_degraded(image, generator) for image in images])


def _retouched(image: Tensor, generator: Generator) -> Tensor:
    if chance(SHARPENED, generator):
        factor = uniform(0, MOST_SHARP, generator)
        image = image + factor * (image - window_mean(image[None], 3)[0])
    if chance(CONTRASTED, generator):
        image = 0.5 + uniform(*CONTRASTS, generator) * (image - 0.5)
    if chance(COLORED, generator):
        gray = image.mean(0, keepdim=True)
        image = gray + uniform(*COLORS, generator) * (image - gray)
    return image.clamp(0, 1)


def _degraded(image: Tensor, generator: Generator) -> Tensor:
    draw = uniform(0, 1, generator)
    if draw < RECODED:
        return JPEG(random_integer(*QUALITIES, generator)).process(image)
    if draw < RECODED + NOISY:
        std = uniform(0, MOST_NOISE, generator)
        noise = torch.randn(image.shape, generator=generator, device="cpu")
        image = (image + std * noise).clamp(0, 1)
    return from_uint8(to_uint8(image))
