"""Randomness image by image, so that no result depends on the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from nrpurify.attacks.box import Eps, per_sample
from nrpurify.attacks.starts import Start, resolve_start
from nrpurify.core.errors import InputError

Source = Generator | Sequence[Generator] | None
"""One CPU generator, one for each image, or None for torch's own."""


def per_image(source: Source, count: int) -> list[Generator]:
    """A generator for each of ``count`` images.

    From one generator they are seeded by one draw an image: images attacked together and one
    after the other get the same.

    Raises:
        InputError: Generators, but not ``count`` of them.
    """
    if isinstance(source, Sequence):
        if len(source) != count:
            raise InputError(f"{len(source)} generators for {count} images; expected one each")
        return list(source)
    draws = (torch.randint(2**62, (), generator=source, device="cpu") for _ in range(count))
    return [Generator().manual_seed(int(seed)) for seed in draws]


def start_each(
    start: str | Start, images: Tensor, eps: Eps, generators: Sequence[Generator]
) -> Tensor:
    """The start, by name or itself, for N×3×H×W images, each with its own generator."""
    radii = per_sample(eps, images).flatten()
    draw = resolve_start(start)
    rows = zip(torch.split(images, 1), radii, generators, strict=True)
    return torch.cat([draw(image, radius, generator) for image, radius, generator in rows])
