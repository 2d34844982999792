"""Varying kept perturbations, so that a small cache covers many eps and patterns."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.training.adversaries import Pair
from nrpurify.training.photos import random_integer
from nrpurify.training.recipe import Variation


def sub_crop(pair: Pair, side: int, generator: Generator) -> Pair:
    """Cut the same random side×side window out of all clean and attacked crops."""
    top = random_integer(0, pair.clean.shape[2] - side, generator)
    left = random_integer(0, pair.clean.shape[3] - side, generator)
    return Pair(*(x[..., top : top + side, left : left + side] for x in pair))


def flip(pair: Pair, generator: Generator) -> Pair:
    """Mirror and turn all crops alike: one of the square's eight symmetries."""
    turns, mirrored = random_integer(0, 3, generator), random_integer(0, 1, generator)
    turned = [x.rot90(turns, (2, 3)) for x in pair]
    return Pair(*(x.flip(3) for x in turned)) if mirrored else Pair(*turned)


def vary(pair: Pair, variation: Variation, eps: float, generator: Generator) -> Pair:
    """Change perturbations crop by crop as ``variation`` says; ‖δ‖∞ ≤ ``eps`` stays true.

    Args:
        pair: Float N×3×S×S crops in [0, 1].
        variation: Shares of the changes, each drawn on its own.
        eps: Budget of the perturbations.
        generator: Source of the draws.
    """
    clean = pair.clean
    delta = pair.adversarial - clean
    delta = torch.where(_drawn(delta, variation.swap, generator), delta.roll(1, 0), delta)
    if variation.smooth:
        signs = smoother(gaussian_kernel())(delta).sign() * eps
        delta = torch.where(_drawn(delta, variation.smooth, generator), signs, delta)
    least = min(variation.least_eps / eps, 1.0)
    scale = least + (1 - least) * torch.rand(len(delta), 1, 1, 1, generator=generator)
    delta = torch.where(_drawn(delta, variation.scale, generator), delta * scale, delta)
    delta = delta.masked_fill(_drawn(delta, variation.clean, generator), 0.0)
    return Pair(clean, (clean + delta).clamp(0, 1))


def _drawn(delta: Tensor, share: float, generator: Generator) -> Tensor:
    return torch.rand(len(delta), 1, 1, 1, generator=generator) < share
