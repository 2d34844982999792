"""MI-FGSM along other estimates of the gradient, the base of most transfer attacks since 2019."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from nrpurify.attacks.constraints import Eps, per_sample
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.gradient import Objective, l1_normalized, value_and_gradient
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.gradient_log import usable
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.starts import start_each
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.attacks.wrappers import straight_through

Estimator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps images and the points where gradients are wanted, both N×3×H×W, to N values and the
gradient; the two differ for attacks that look ahead."""


class MomentumAttack(GradientAttack):
    """MI-FGSM whose gradient comes from :meth:`estimator`.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
    """

    steps: int = 10
    step_size: Eps | None = None
    momentum: float = 1.0
    diversity: float = 0.0
    smoothing: int = 0
    look_ahead = False
    """Whether gradients are taken where the momentum leads (Nesterov); a constant."""

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """Step along the accumulated estimates."""
        estimate = self.estimator(problem)
        size = self.size(problem)
        images = problem.project(problem.clean)
        velocity = torch.zeros_like(images)
        for step in range(1, self.steps + 1):
            point = images
            if self.look_ahead:
                point = (images + self.momentum * size * velocity).clamp(0, 1)
            values, gradient = estimate(images, point)
            velocity = self.accumulate(velocity, gradient)
            images = problem.step(images, velocity, size)
            problem.report(step, values)
        return images

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The estimate of the gradient: here the gradient itself."""
        objective = self.objective(problem)
        return lambda images, point: finite_gradient(objective, point)

    def accumulate(self, velocity: Tensor, gradient: Tensor) -> Tensor:
        """The gradient, smoothed and divided by its L1 mean, added to the decayed sum so far."""
        return self.momentum * velocity + l1_normalized(self.smoothed(gradient))

    def smoothed(self, gradient: Tensor) -> Tensor:
        """The gradient after the Gaussian filter, if there is one."""
        return smoother(gaussian_kernel(self.smoothing))(gradient) if self.smoothing else gradient

    def size(self, problem: AttackProblem) -> Tensor:
        """The step size N×1×1×1."""
        length = self.length(problem.radii, problem.norm)
        return per_sample(length, problem.clean, "step_size", problem.norm)


class InputAttack(MomentumAttack):
    """MI-FGSM along the mean gradient of several transformed views of each image."""

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The transformations of one image in one step, one a gradient, each to the same size.

        They are called once, in their order, and let gradients pass. Values outside of [0, 1] are
        clipped afterwards; gradients pass the clipping.

        Args:
            problem: Draw from ``problem.generators[row]`` alone.
            row: The image's place in the batch.
        """
        raise NotImplementedError

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The mean gradient of all views."""
        objective = self.objective(problem)

        def loss(transforms: Sequence[Transform], images: Tensor) -> Tensor:
            pairs = zip(transforms, torch.split(images, 1), strict=True)
            return objective(clipped(torch.cat([transform(one) for transform, one in pairs])))

        def estimate(images: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            views = (self.views(problem, row) for row in range(len(images)))
            return mean_gradient(
                finite_gradient(partial(loss, transforms), point)
                for transforms in zip(*views, strict=True)
            )

        return estimate


def finite_gradient(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    """N values and the gradient N×3×H×W of their sum, with finite entries that are counted."""
    values, gradient = value_and_gradient(objective, images)
    return values, usable(gradient)


def mean_gradient(found: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The means of several pairs of values and gradient; one pair at a time is in memory."""
    pairs = iter(found)
    values, gradient = next(pairs)
    count = 1
    for value, slope in pairs:
        values, gradient, count = values + value, gradient + slope, count + 1
    return values / count, gradient / count


def neighbor(problem: AttackProblem, images: Tensor, radius: float) -> Tensor:
    """Images plus uniform noise of ``radius`` times the budget, clipped to [0, 1]."""
    share = radius * problem.radii.flatten()
    return start_each("uniform", images, share, problem.generators).clamp(0, 1)


def clipped(images: Tensor) -> Tensor:
    """Images clipped to [0, 1], the only ones that models here take; gradients pass as if not."""
    return straight_through(images, images.detach().clamp(0, 1))
