"""The base of attacks that take gradient steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrpurify.attacks.base import Attack
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.forward import Transform, cross_entropy
from nrpurify.attacks.gradient import Objective, sign_gradient_ascent
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.starts import Start
from nrpurify.attacks.step_size import StepSize
from nrpurify.attacks.transforms import diverse_input, gaussian_kernel, smoother

GROWTH = 330 / 299
"""How far input diversity enlarges images: to 330 pixels from Inception's 299, as published."""


class GradientAttack(StepSize, Attack):
    """Gradient steps up a loss; FGSM, PGD, MI-FGSM, DIM and their kin are settings of it.

    The attributes below are constants here, since they have no annotation. A subclass makes one a
    setting by annotating it.

    Attributes:
        steps: Number of gradient steps.
        step_size: In units of [0, 1] images, one value or one an image; None for the default.
        linf_step: The default in ℓ∞; None for eps / steps.
        start: A name in :data:`nrpurify.attacks.starts.STARTS`, or a function.
        start_share: Share of eps that a random start may use.
        momentum: Decay of accumulated gradients, 0 for none.
        diversity: Probability of an input-diversity draw for an image and step, 0 for none.
        smoothing: Odd side of the Gaussian filter of the gradient, 0 for none.
    """

    steps = 1
    if TYPE_CHECKING:  # a type checker needs the annotation, a dataclass would make it a field
        step_size: Eps | None = None
        start: str | Start = "clean"
    else:
        step_size, start = None, "clean"
    start_share = 1.0
    momentum = 0.0
    diversity = 0.0
    smoothing = 0

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Ascend :meth:`objective` by the settings."""
        first = self.first(problem)
        return sign_gradient_ascent(
            problem.clean,
            self.objective(problem),
            eps=problem.radii,
            norm=problem.norm,
            steps=self.steps,
            step_size=self.length(problem.radii, problem.norm),
            start=first,
            momentum=self.momentum,
            smooth=smoother(gaussian_kernel(self.smoothing)) if self.smoothing else None,
            callback=problem.callback,
        )

    def objective(self, problem: AttackProblem) -> Objective:
        """The loss that is to grow: the cross entropy, on diverse inputs with ``diversity``."""
        if not self.diversity:
            return problem.loss

        def draw() -> list[Transform]:
            shape = torch.Size((1, *problem.clean.shape[1:]))
            return [
                diverse_input(shape, self.diversity, one, growth=GROWTH)
                for one in problem.generators
            ]

        return cross_entropy(problem.model, problem.goal, draw, problem.amp)

    def first(self, problem: AttackProblem) -> Tensor | None:
        """The images that it starts from; None for the clean ones."""
        if self.start == "clean":
            return None
        return problem.start(self.start, self.start_share)
