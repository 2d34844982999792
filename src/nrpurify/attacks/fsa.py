"""FSA, feature scattering (Zhang & Wang, 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.forward import forward
from nrpurify.attacks.forward import logits as logits_of
from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError


@register_attack("fsa", source="Zhang & Wang, 2019", label_free=True)
class FSA(GradientAttack):
    """Move the logits of a batch away from its clean ones, as a whole (appendix C).

    What grows is the optimal-transport distance between the two sets of logits, with one minus
    the cosine as the cost. So an image's result depends on the batch it is in; a batch of one
    has the plain cosine distance. The mean of an :class:`~nrpurify.attacks.EOT`'s logits counts.
    The callback gets N times the cost of what is moved to each image.

    ``authors``: the one step of eps that they train with. The paper does not give its number of
    steps; it is that of the other iterative attacks.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        regularization: Above 0; the smaller, the nearer to the exact transport.
    """

    presets: ClassVar = {"authors": {"steps": 1}}
    start = "uniform"

    steps: int = 10
    step_size: Eps | None = None
    regularization: float = 0.01

    def __post_init__(self) -> None:
        """Check the regularization too."""
        super().__post_init__()
        if not self.regularization > 0:
            raise InputError(f"regularization is {self.regularization}; expected more than 0")

    def objective(self, problem: AttackProblem) -> Objective:
        """The transport distance of the logits."""

        def logits(images: Tensor) -> Tensor:
            return forward(lambda part: logits_of(problem.model, part), images, problem.amp).mean(1)

        with torch.no_grad():
            reference = logits(problem.clean)

        def objective(images: Tensor) -> Tensor:
            cost = cosine_cost(reference, logits(images))
            return len(images) * (sinkhorn(cost, self.regularization) * cost).sum(0)

        return objective


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
    # in logarithms: exp(-cost / regularization) underflows to 0, and 0 / 0 would be NaN
    scaled = -cost / regularization
    left, right = cost.new_zeros(rows), cost.new_zeros(columns)
    for _ in range(iterations):
        left = -math.log(rows) - (scaled + right).logsumexp(1)
        right = -math.log(columns) - (scaled + left[:, None]).logsumexp(0)
    return (scaled + left[:, None] + right).exp()


fsa = functional(FSA)
