"""PI-FGSM, patch-wise perturbations (Gao et al., 2020)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.base import POSITIVE, functional
from nrpurify.attacks.momentum import MomentumAttack, finite_gradient
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.transforms import smoother
from nrpurify.core.errors import InputError


@register_attack("pi-fgsm", source="Gao et al., 2020", norms=("linf",))
class PIFGSM(MomentumAttack):
    """Steps much longer than eps / steps; what the budget cuts off goes to the pixels around.

    One gradient a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], before ``amplification``; by default eps / steps.
        momentum: Decay of the accumulated gradients; the paper has none.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        amplification: Factor of the step size.
        kernel: Odd side, from 3, of the square to which what is cut off goes; 7 in the paper
            against defenses.
    """

    ranges: ClassVar = {"amplification": POSITIVE}

    momentum: float = 0.0
    amplification: float = 10.0
    kernel: int = 3

    def __post_init__(self) -> None:
        """Check the kernel too."""
        super().__post_init__()
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; expected an odd number from 3")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """Step, and hand on what was cut off."""
        objective, size = self.objective(problem), self.amplification * self.size(problem)
        around = smoother(_around(self.kernel))
        images = problem.project(problem.clean)
        velocity, total = torch.zeros_like(images), torch.zeros_like(images)
        for step in range(1, self.steps + 1):
            values, gradient = finite_gradient(objective, images)
            velocity = self.accumulate(velocity, gradient)
            move = size * velocity.sign()
            total = total + move
            cut = (total.abs() - problem.radii).clamp_min(0) * total.sign()
            handed_on = size * around(cut).sign()
            total = total + handed_on
            images = problem.project(images + move + handed_on)
            problem.report(step, values)
        return images


def _around(side: int) -> Tensor:
    """The mean of the pixels around one, without itself, as a filter."""
    kernel = torch.full((side, side), 1 / (side**2 - 1))
    kernel[side // 2, side // 2] = 0
    return kernel


pi_fgsm = functional(PIFGSM)
