"""Logit, many steps along the gradient of one logit (Zhao et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.momentum import Estimator, MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack


@register_attack("logit", source="Zhao et al., 2021")
class Logit(MomentumAttack):
    """The simple strong attack toward a target: its logit grows over many steps.

    With input diversity, smoothed gradients and momentum, as DIM-TI, but gradients are added up as
    they are. Without targets the label's logit falls. One gradient a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default 2/255, in ℓ2
            2.5 eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
    """

    steps: int = 300
    step_size: Eps | None = None
    linf_step = 2 / 255
    diversity: float = 0.7
    smoothing: int = 5

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The gradient of the logit."""
        goal = problem.goal
        logit = LogitCriterion(goal.classes, goal.targeted, goal.origin)
        return super().estimator(replace(problem, criterion=logit, source=problem.generators))

    def accumulate(self, velocity: Tensor, gradient: Tensor) -> Tensor:
        """The smoothed gradient added to the decayed sum; logits do not saturate as losses do."""
        return self.momentum * velocity + self.smoothed(gradient)


@dataclass(frozen=True)
class LogitCriterion(Criterion):
    """A criterion whose loss is the class's logit."""

    def loss(self, answers: Tensor) -> Tensor:
        """N values that are to grow: minus the logits, plus them when targeted."""
        self.check(answers.shape[2])
        classes = self.classes.view(-1, 1, 1).expand(-1, answers.shape[1], 1)
        return -self.sign * answers.gather(2, classes)[..., 0].mean(1)


logit = functional(Logit)
