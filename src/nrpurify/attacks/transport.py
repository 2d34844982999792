"""Optimal transport between two sets of points of equal weight."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_cost(first: Tensor, second: Tensor) -> Tensor:
    """One minus the cosine between each of N and each of M vectors: N×M values in [0, 2]."""
    return 1 - F.normalize(first, dim=1) @ F.normalize(second, dim=1).T


@torch.no_grad()
def sinkhorn(cost: Tensor, regularization: float = 0.01, iterations: int = 100) -> Tensor:
    """The transport plan of least cost, blurred by entropy (Cuturi, 2013).

    Computed in logarithms, so that small regularization does not overflow.

    Args:
        cost: N×M.
        regularization: Weight of the entropy, in units of the cost; 0 would be no blur.
        iterations: Number of Sinkhorn's iterations.

    Returns:
        N×M masses that sum to one; columns to 1/M, and rows nearly to 1/N.
    """
    rows, columns = cost.shape
    scaled = -cost / regularization
    left, right = cost.new_zeros(rows), cost.new_zeros(columns)
    for _ in range(iterations):
        left = -math.log(rows) - (scaled + right).logsumexp(1)
        right = -math.log(columns) - (scaled + left[:, None]).logsumexp(0)
    return (scaled + left[:, None] + right).exp()
