"""Ghost networks, whose shortcuts are scaled at random (Li et al., 2020)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.gradient import value_and_gradient
from nrpurify.attacks.gradient_log import usable
from nrpurify.attacks.momentum import Estimator, MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.residual import residual_blocks, scaled_shortcuts
from nrpurify.core.errors import InputError


@register_attack("ghost", source="Li et al., 2020")
class Ghost(MomentumAttack):
    """MI-FGSM on another ghost of the surrogate at each step.

    In a ghost each residual block multiplies its shortcut by a uniform number in [1 − Λ, 1 + Λ],
    drawn for each image, which goes through the network alone. The surrogate needs residual blocks
    with identity shortcuts. One gradient a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        erosion: Λ in [0, 1]; the default is that of the published ResNet-50.

    Raises:
        InputError: A surrogate without residual blocks.
    """

    erosion: float = 0.22

    def __post_init__(self) -> None:
        """Check Λ too."""
        super().__post_init__()
        if not 0 <= self.erosion <= 1:
            raise InputError(f"erosion is {self.erosion}; expected a value in [0, 1]")

    def estimator(self, problem: AttackProblem) -> Estimator:
        """Gradients of ghosts, image by image."""
        blocks = residual_blocks(problem.model, "ghost")
        rows = torch.split(torch.arange(len(problem.clean), device=problem.clean.device), 1)
        parts = [replace(problem.take(row), criterion=problem.goal.take(row)) for row in rows]
        objectives = [self.objective(part) for part in parts]

        def estimate(images: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            found = []
            pairs = zip(objectives, problem.generators, torch.split(point, 1), strict=True)
            for objective, generator, image in pairs:
                draws = 2 * torch.rand(len(blocks), generator=generator, device="cpu") - 1
                with scaled_shortcuts(blocks, (1 + self.erosion * draws).tolist()):
                    found.append(value_and_gradient(objective, image))
            values, gradients = (torch.cat(parts) for parts in zip(*found, strict=True))
            return values, usable(gradients)

        return estimate


ghost = functional(Ghost)
