"""Augmentation of kept perturbations, so that a small cache covers many eps and patterns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.core.random import random_integer
from nrpurify.training.adversaries import Pair
from nrpurify.training.adversary_config import PerturbationAugment


def crop_pair(pair: Pair, side: int, generator: Generator) -> Pair:
    """Cut the same random side×side window out of all clean and attacked crops."""
    top = random_integer(0, pair.clean.shape[2] - side, generator)
    left = random_integer(0, pair.clean.shape[3] - side, generator)
    return Pair(*(x[..., top : top + side, left : left + side] for x in pair))


def flip_pair(pair: Pair, generator: Generator) -> Pair:
    """Mirror and turn all crops alike: one of the square's eight symmetries."""
    turns, mirrored = random_integer(0, 3, generator), random_integer(0, 1, generator)
    turned = [x.rot90(turns, (2, 3)) for x in pair]
    return Pair(*(x.flip(3) for x in turned)) if mirrored else Pair(*turned)


def augment_perturbations(
    pair: Pair, settings: PerturbationAugment, eps: float, generator: Generator
) -> Pair:
    """Change perturbations crop by crop, by ``settings``.

    ‖δ‖∞ stays at most ``eps`` times the greatest of ``settings.factors``.

    Args:
        pair: Float N×3×S×S crops in [0, 1].
        settings: Shares of the changes, each drawn on its own.
        eps: Budget of the perturbations.
        generator: Source of the draws.
    """
    clean = pair.clean
    delta = pair.adversarial - clean
    delta = torch.where(_drawn(delta, settings.swap, generator), delta.roll(1, 0), delta)
    if settings.smooth:
        signs = smoother(gaussian_kernel())(delta).sign() * eps
        delta = torch.where(_drawn(delta, settings.smooth, generator), signs, delta)
    if settings.sign:
        delta = torch.where(_drawn(delta, settings.sign, generator), delta.sign() * eps, delta)
    if settings.grain:
        for index in _drawn(delta, settings.grain, generator).flatten().nonzero().flatten():
            delta[index] = random_grain(delta.shape[-1], generator).to(delta) * eps
    least = min(settings.least_eps / eps, 1.0)
    scale = least + (1 - least) * _rand(delta, generator)
    low, high = settings.factors
    factor = (
        low + (high - low) * _rand(delta, generator) if high > low else torch.full_like(scale, low)
    )
    delta = delta * torch.where(_drawn(delta, settings.scale, generator), scale, factor)
    # last, so that the share of clean crops does not depend on the other settings
    delta = delta.masked_fill(_drawn(delta, settings.clean, generator), 0.0)
    return Pair(clean, (clean + delta).clamp(0, 1))


COARSENESS = (1.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Pixels that a grain of :func:`random_grain` is wide; each is as likely."""


def random_grain(side: int, generator: Generator) -> Tensor:
    """Signs of random noise, 3×side×side.

    It depends on neither images nor networks. Perturbations from gradients all share some
    structure; grain makes the purifier a general denoiser too.
    """
    width = COARSENESS[random_integer(0, len(COARSENESS) - 1, generator)]
    channels = 1 if random_integer(0, 3, generator) == 0 else 3
    count = math.ceil(side / width) + 1
    noise = torch.randn(1, channels, count, count, generator=generator, device="cpu")
    if channels == 3 and random_integer(0, 1, generator):
        mix = torch.randn(3, 3, generator=generator, device="cpu")
        noise = torch.einsum("ij,njhw->nihw", mix, noise)
    if width > 1:
        mode = ("nearest", "bilinear")[random_integer(0, 1, generator)]
        wide = round(count * width)
        noise = F.interpolate(noise, size=(wide, wide), mode=mode)
    top, left = (random_integer(0, noise.shape[2] - side, generator) for _ in range(2))
    return noise[0, :, top : top + side, left : left + side].sign().expand(3, -1, -1)


def _drawn(delta: Tensor, share: float, generator: Generator) -> Tensor:
    return _rand(delta, generator) < share


def _rand(delta: Tensor, generator: Generator) -> Tensor:
    return torch.rand(len(delta), 1, 1, 1, generator=generator, device="cpu")
