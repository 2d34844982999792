"""SVRE, an ensemble's gradient with less variance between members (Xiong et al., 2022)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.base import COUNT, functional
from nrpurify.attacks.gradient import l1_normalized
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.momentum import Estimator, MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.wrappers import Ensemble
from nrpurify.core.errors import InputError
from nrpurify.core.random import random_integer


@register_attack("svre", source="Xiong et al., 2022")
class SVRE(MomentumAttack):
    """MI-FGSM on an ensemble, each step of which is the sum of an inner loop on single members.

    An inner step follows a random member's gradient, less that member's at the outer point, plus
    the mean of all members' there (stochastic variance reduction). The outer step follows the
    accumulated inner gradients. ``inner`` + 1 times the members' number of gradients a step. What
    is no :class:`~nrpurify.attacks.Ensemble` counts as one member. On the command line give
    several surrogates.

    Attributes:
        steps: Number of outer steps.
        step_size: In (0, 1], of both loops, one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients of both loops.
        diversity: Has to be 0.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        inner: Inner steps for each member.
    """

    ranges: ClassVar = {"inner": COUNT}

    inner: int = 4

    def __post_init__(self) -> None:
        """Refuse input diversity."""
        super().__post_init__()
        if self.diversity:
            raise InputError(f"diversity is {self.diversity}; svre has none, expected 0")

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The accumulated gradient of the inner loop."""
        members = ensemble_members(problem.model)
        size = self.size(problem)

        def estimate(images: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            found = [member_gradient(problem, member, point) for member in members]
            values = torch.stack([one for one, _ in found]).mean(0)
            anchors = torch.stack([slope for _, slope in found])
            mean = anchors.mean(0)
            here, velocity = point, torch.zeros_like(point)
            for _ in range(self.inner * len(members)):
                chosen = draws(problem, len(members))
                gradient = torch.empty_like(here)
                for k, member in enumerate(members):
                    rows = (chosen == k).nonzero().flatten()
                    if len(rows):
                        slope = member_gradient(problem, member, here[rows], rows)[1]
                        gradient[rows] = slope - anchors[k][rows] + mean[rows]
                velocity = self.momentum * velocity + l1_normalized(self.smoothed(gradient))
                here = problem.step(here, velocity, size)
            return values, velocity

        return estimate

    def accumulate(self, velocity: Tensor, gradient: Tensor) -> Tensor:
        """The inner gradient, divided by its L1 mean, added to the decayed sum so far."""
        return self.momentum * velocity + l1_normalized(gradient)


def ensemble_members(model: Any) -> list[Any]:
    """The members of an ensemble; anything else is its only member."""
    return list(model.models) if isinstance(model, Ensemble) else [model]


def member_gradient(
    problem: AttackProblem, member: Any, images: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Losses of one member and their gradient.

    Args:
        problem: The whole batch.
        member: A classifier.
        images: M×3×H×W.
        rows: Their M indices in the batch; None for all of it.
    """
    every = torch.arange(len(images), device=images.device) if rows is None else rows
    values, gradient, _ = replace(problem, model=member).evaluate_gradient(
        images, every, Criterion.loss
    )
    return values, gradient


def draws(problem: AttackProblem, count: int) -> Tensor:
    """A member for each image, from the image's generator."""
    if count == 1:
        return torch.zeros(len(problem.clean), dtype=torch.int64, device=problem.clean.device)
    chosen = [random_integer(0, count - 1, generator) for generator in problem.generators]
    return torch.tensor(chosen, device=problem.clean.device)


svre = functional(SVRE)
