"""Random views and ghosts of feature networks, so that what repairs theirs repairs others' too."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from nrpurify.training.photos import chance, random_integer

GREATEST_SHIFT = 15
"""Pixels."""
GREATEST_NOISE = 0.04
"""Standard deviation, in units of [0, 1] images."""


def random_view(
    purified: Tensor, clean: Tensor, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Both resized and, each with a chance of one half, mirrored, cut and noisy.

    As diverse inputs make attacks transfer (Xie et al., 2019), they make repairs transfer.

    Args:
        purified: N×3×S×S crops.
        clean: The crops that they should be; what happens to them is the same.
        generator: Source of the draws.

    Returns:
        Two tensors of the same random side, of at most 4/3·S and at least 5/8·S less the cut.
    """
    side = purified.shape[-1]
    size = [random_integer(side * 5 // 8, side * 4 // 3, generator)] * 2
    views = [
        F.interpolate(crops, size, mode="bilinear", antialias=True, align_corners=False)
        for crops in (purified, clean)
    ]
    if chance(0.5, generator):
        views = [view.flip(3) for view in views]
    if chance(0.5, generator):
        most = min(GREATEST_SHIFT, size[0] - 1)
        top, left = random_integer(0, most, generator), random_integer(0, most, generator)
        views = [view[..., top:, left:] for view in views]
    if chance(0.5, generator):
        std = GREATEST_NOISE * float(torch.rand((), generator=generator))
        noise = std * torch.randn(views[0].shape, generator=generator)
        views = [view + noise.to(view) for view in views]
    seen, wanted = views
    return seen, wanted


def ghost(
    extractor: nn.Module, width: float, generator: Generator | None
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """``extractor`` with every filter scaled by its own random factor of 1 ± ``width``.

    One network stands for many alike (ghost networks, Li et al., 2020).

    Args:
        extractor: A :class:`nrpurify.features.FeatureExtractor`; it is left as it is.
        width: Greatest relative change, from 0 to below 1.
        generator: Source of the factors.
    """
    changed = {}
    for name, weight in extractor.named_parameters():
        if weight.ndim == 4:
            factors = 1 + width * (2 * torch.rand(len(weight), 1, 1, 1, generator=generator) - 1)
            changed[name] = weight * factors.to(weight)

    def answer(images: Tensor) -> tuple[Tensor, ...]:
        features: tuple[Tensor, ...] = functional_call(extractor, changed, (images,))
        return features

    return answer
