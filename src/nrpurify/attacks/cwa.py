"""CWA, the common weakness of an ensemble: flat and close optima (Chen et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.constraints import Eps, per_sample
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.svre import ensemble_members, member_gradient
from nrpurify.core.errors import InputError


@register_attack("cwa", source="Chen et al., 2024")
class CWA(Attack):
    """MI-CWA: a step down the ensemble's loss, then one up each member's in turn.

    The step down by ``reverse`` times eps is that of sharpness-aware minimization. The steps up,
    each along the momentum of gradients of length 1, raise the cosine between members' gradients.
    Their sum, divided by its L1 length, is added to the outer momentum, whose sign is followed from
    where they began. One gradient of the ensemble and one of each member a step. What is no
    :class:`~nrpurify.attacks.Ensemble` counts as one member. On the command line give several
    surrogates.

    Attributes:
        steps: Number of outer steps.
        step_size: Of the outer steps, in (0, 1], one value or one an image; by default
            2 eps / steps.
        momentum: Decay of both momenta.
        reverse: Length of the step down, in units of eps.
        inner_step: Length of a step up, in units of [0, 1] images; results are projected.
    """

    steps: int = 10
    step_size: Eps | None = None
    momentum: float = 1.0
    reverse: float = 1 / 15
    inner_step: float = 250.0

    def __post_init__(self) -> None:
        """Check the lengths too."""
        super().__post_init__()
        for name, value in (("reverse", self.reverse), ("inner_step", self.inner_step)):
            if not value > 0:
                raise InputError(f"{name} is {value}; expected more than 0")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """Step along the outer momentum."""
        members = ensemble_members(problem.model)
        given = 2 * problem.radii / self.steps if self.step_size is None else self.step_size
        size = per_sample(given, problem.clean, "step_size", problem.norm)
        images = problem.project(problem.clean)
        inner, outer = torch.zeros_like(images), torch.zeros_like(images)
        for step in range(1, self.steps + 1):
            values, gradient = member_gradient(problem, problem.model, images)
            here = problem.step(images, -gradient, self.reverse * problem.radii)
            for member in members:
                slope = member_gradient(problem, member, here)[1]
                inner = self.momentum * inner + slope / _length(slope)
                here = problem.project(here + self.inner_step * inner)
            moved = here - images
            weight = moved.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-20)
            outer = self.momentum * outer + moved / weight
            images = problem.step(images, outer, size)
            problem.report(step, values)
        return images


def _length(gradient: Tensor) -> Tensor:
    length: Tensor = gradient.flatten(1).norm(dim=1).clamp_min(1e-20)
    return length.view(-1, 1, 1, 1)


cwa = functional(CWA)
