"""What attacks that stop early ask: how far an image has come, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nrpurify.attacks.ascent import value_and_gradient
from nrpurify.attacks.goal import Goal
from nrpurify.attacks.gradient_log import usable
from nrpurify.attacks.logits import ask, in_groups
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

Loss = Callable[[Goal, Tensor], Tensor]
"""Maps a goal for N images and their N×draws×classes logits to the N values that are to grow."""


@dataclass(frozen=True)
class Judge:
    """A classifier with what is wanted of it, for any selection of a batch.

    Attributes:
        model: The classifier.
        goal: What is wanted, for the whole batch.
        loss: What is to grow.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
    """

    model: Model
    goal: Goal
    loss: Loss
    amp: Amp = False

    def __call__(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values, and whether the goal is reached, of M×3×H×W images.

        Args:
            images: What has become of M images of the batch.
            rows: Their M indices in the batch.
        """
        answers = in_groups(lambda part: ask(self.model, part), torch.split(images, 1), self.amp)
        goal = self.goal.take(rows)
        return self.loss(goal, answers), goal.reached(answers)

    def with_gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """M values, the gradient M×3×H×W of their sum, and whether the goal is reached."""
        found: list[Tensor] = []

        def objective(point: Tensor) -> Tensor:
            values, reached = self(point, rows)
            found.append(reached)
            return values

        values, gradient = value_and_gradient(objective, images)
        return values, usable(gradient, rows, found[0]), found[0]
