"""The distance d of Eq. 1 between two sets of features, one value a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32


def mae(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference (the paper's choice for the losses, Sec. 3.2)."""
    return (a - b).abs().flatten(1).mean(1)


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return F.mse_loss(a, b, reduction="none").flatten(1).mean(1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine of the angle between the flattened features, in [0, 2]."""
    similarity: Tensor = F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1, eps=1e-12)
    return 1 - similarity


def wasserstein(a: Tensor, b: Tensor, *, projections: int = 32) -> Tensor:
    """Sliced 1-Wasserstein distance between the clouds of feature vectors of all positions.

    Each position is a point in channel space. The points are projected on fixed random
    directions, sorted, and compared in order (Rabin et al., 2011).
    """
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(a.shape[1], projections, generator=generator, device="cpu").to(a)
    axes = axes / axes.norm(dim=0)
    clouds = (x.reshape(*x.shape[:2], -1).transpose(1, 2) for x in (a, b))
    first, second = ((cloud @ axes).sort(dim=1).values for cloud in clouds)
    apart: Tensor = (first - second).abs().mean((1, 2))
    return apart


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mae": mae,
    "mse": mse,
    "cosine": cosine,
    "wasserstein": wasserstein,
}


def distance(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Look up a distance: ``mae``, ``mse``, ``cosine`` or ``wasserstein``.

    Each takes two N×C×... tensors and returns N values.

    Raises:
        InputError: No such distance.
    """
    if name not in DISTANCES:
        raise InputError(f"no distance {name!r}; expected one of {', '.join(DISTANCES)}")
    return DISTANCES[name]


def feature_distance(
    features: tuple[Tensor, ...], reference: tuple[Tensor, ...], name: str = "mae"
) -> Tensor:
    """Sum over layers of the distance ``name`` (Eq. 1 at several layers), N values.

    Half-precision features are compared in fp32.
    """
    measure = distance(name)
    parts = [
        measure(at_least_fp32(a), at_least_fp32(b))
        for a, b in zip(features, reference, strict=True)
    ]
    return torch.stack(parts).sum(0)
