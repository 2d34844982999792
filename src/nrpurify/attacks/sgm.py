"""SGM, the skip gradient method (Wu et al., 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nrpurify.attacks.base import SHARE, functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.momentum import MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.residual import decayed, residual_blocks


@register_attack("sgm", source="Wu et al., 2020")
class SGM(MomentumAttack):
    """MI-FGSM with less of the gradient through residual branches than through shortcuts.

    The surrogate needs residual blocks with identity shortcuts; others are left as they are, as in
    the published code. One gradient a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default 2/255, in ℓ2
            2.5 eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        gamma: γ in (0, 1]: factor of the gradient through each branch; 0.2 for ResNets.

    Raises:
        InputError: A surrogate without residual blocks.
    """

    ranges: ClassVar = {"gamma": SHARE}

    step_size: Eps | None = None
    linf_step = 2 / 255
    gamma: float = 0.2

    def perturb(self, problem: AttackProblem) -> Tensor:
        """MI-FGSM on the surrogate with decayed branches."""
        with decayed(residual_blocks(problem.model, "sgm"), self.gamma):
            return super().perturb(problem)


sgm = functional(SGM)
