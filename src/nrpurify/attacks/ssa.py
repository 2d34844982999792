"""SSA, the spectrum simulation attack (Long et al., 2022)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.momentum import InputAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError


@register_attack("ssa", source="Long et al., 2022", norms=("linf",))
class SSA(InputAttack):
    """MI-FGSM along the mean gradient of views whose frequencies are scaled at random.

    A view is the image plus normal noise of deviation eps, whose coefficients of the discrete
    cosine transform are each multiplied by a uniform number in [1 − ρ, 1 + ρ]. The gradient leads
    through the transformation, as in the paper's formula; the published code leaves it out.
    ``copies`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        copies: Number of views.
        rho: ρ in [0, 1].
    """

    copies: int = 20
    rho: float = 0.5

    def __post_init__(self) -> None:
        """Check ρ too."""
        super().__post_init__()
        if not 0 <= self.rho <= 1:
            raise InputError(f"rho is {self.rho}; expected a value in [0, 1]")

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The image with noise and another spectrum, several times."""
        generator, eps = problem.generators[row], float(problem.radii[row])

        def view(image: Tensor) -> Tensor:
            noise, factor = (torch.empty(image.shape, device="cpu") for _ in range(2))
            noise.normal_(0, eps, generator=generator)
            factor.uniform_(1 - self.rho, 1 + self.rho, generator=generator)
            height, width = (cosines(side).to(image) for side in image.shape[-2:])
            spectrum = height @ (image + noise.to(image)) @ width.T
            return height.T @ (factor.to(image) * spectrum) @ width

        return [view] * self.copies


@lru_cache(maxsize=8)
def cosines(side: int) -> Tensor:
    """The orthogonal matrix side×side whose product with a column is its DCT-II."""
    places = torch.arange(side, dtype=torch.float64, device="cpu")
    waves = torch.cos(math.pi / side * torch.outer(places, places + 0.5))
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / side)


ssa = functional(SSA)
