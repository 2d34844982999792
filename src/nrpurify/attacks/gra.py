"""GRA, the gradient relevance attack (Zhu et al., 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.momentum import (
    Estimator,
    MomentumAttack,
    finite_gradient,
    mean_gradient,
    neighbor,
)
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError


@register_attack("gra", source="Zhu et al., 2023", norms=("linf",))
class GRA(MomentumAttack):
    """MI-FGSM whose gradient is mixed with those around, and whose steps shrink where signs flip.

    With s, the cosine of the gradient and the mean gradient around, the mixture is s times the
    first and 1 − s times the second. ``samples`` + 1 gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        samples: Number of images around each image.
        radius: How far around, in units of eps; they are clipped to [0, 1].
        decay: η in (0, 1]: factor of a value's step each time its direction flips.
    """

    samples: int = 20
    radius: float = 3.5
    decay: float = 0.94

    def __post_init__(self) -> None:
        """Check the decay too."""
        super().__post_init__()
        if not 0 < self.decay <= 1:
            raise InputError(f"decay is {self.decay}; expected a value in (0, 1]")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """Step along the mixture, shorter where the direction flips."""
        estimate, size = self.estimator(problem), self.size(problem)
        images = problem.project(problem.clean)
        velocity = torch.zeros_like(images)
        scale = torch.full_like(images, 1 / self.decay)  # the first step counts as a flip
        for step in range(1, self.steps + 1):
            values, gradient = estimate(images, images)
            before, velocity = velocity, self.accumulate(velocity, gradient)
            scale = torch.where(before.sign() == velocity.sign(), scale, self.decay * scale)
            images = problem.project(images + size * scale * velocity.sign())
            problem.report(step, values)
        return images

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The mixture of the gradient and the mean one around."""
        objective = self.objective(problem)

        def estimate(images: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            values, gradient = finite_gradient(objective, point)
            _, around = mean_gradient(
                finite_gradient(objective, neighbor(problem, images, self.radius))
                for _ in range(self.samples)
            )
            cosine = F.cosine_similarity(_unit(gradient), _unit(around), dim=1)
            cosine = cosine.view(-1, 1, 1, 1)
            return values, cosine * gradient + (1 - cosine) * around

        return estimate


def _unit(gradient: Tensor) -> Tensor:
    """Rows with a greatest entry of 1, so that squares of tiny or huge gradients stay in fp32."""
    rows = gradient.flatten(1)
    return rows / rows.abs().amax(1, keepdim=True).clamp_min(1e-30)


gra = functional(GRA)
