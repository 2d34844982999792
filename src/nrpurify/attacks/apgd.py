"""Auto-PGD, PGD that finds its own step size (Croce & Hein, 2020, Algorithm 1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.base import SHARE, Attack, functional
from nrpurify.attacks.constraints import Ball
from nrpurify.attacks.losses import Criterion, dlr
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of


class AutoPGD(Attack):
    """PGD with momentum that halves its step where it makes no progress.

    Its callback's steps are numbered through all attempts; images that are left alone keep their
    last loss.

    Attributes:
        steps: Number of gradient steps of an attempt.
        restarts: Number of attempts, each from a random point of the ball.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target), which may be at once: enough for the accuracy of this model. False goes on
            to the greatest loss, for instance because other models are to be fooled, too.
        momentum: Share α of the new direction in a step; the last step has the rest.
        rho: Share of steps between two checkpoints that has to go up; else the step is halved.
    """

    presets: ClassVar = {"authors": {"restarts": 1}}
    ranges: ClassVar = {
        "momentum": SHARE,
        "rho": (lambda value: 0 <= value <= 1, "a value in [0, 1]"),
    }

    steps: int = 100
    restarts: int = 5
    early_stop: bool = True
    momentum: float = 0.75
    rho: float = 0.75

    def perturb(self, problem: AttackProblem) -> Tensor:
        """The best of the attempts."""

        def attempt(rows: Tensor, watch: Watch) -> Attempt:
            part = problem.take(rows)
            return self.ascend(problem, part, part.start("uniform"), rows, watch)

        return best_of(self.restarts, attempt, problem, self.loss, early_stop=self.early_stop)

    def loss(self, criterion: Criterion, answers: Tensor) -> Tensor:
        """The cross entropy: N values that are to grow."""
        return criterion.loss(answers)

    @torch.no_grad()
    def ascend(
        self, problem: AttackProblem, part: AttackProblem, start: Tensor, rows: Tensor, watch: Watch
    ) -> Attempt:
        """Ascend once from ``start``; the first step is twice eps.

        Args:
            problem: The whole batch.
            part: The M images that are attacked.
            start: M×3×H×W inside the ball.
            rows: Indices of the M images in the batch.
            watch: Gets each step.

        Returns:
            The points of greatest value, or with ``early_stop`` the first that reach the goal.
        """
        first = problem.evaluate_gradient(start, rows, self.loss)
        state = ApgdState(start, 2 * part.radii, *first)
        watch.update(rows, state.values)
        marks, last = checkpoints(self.steps), 0
        for step in range(1, self.steps + 1):
            active = (~state.reached if self.early_stop else state.every).nonzero().flatten()
            if not len(active):
                break
            watch.step()
            state.move(part.ball, self.momentum if step > 1 else 1.0)
            answers = problem.evaluate_gradient(state.point[active], rows[active], self.loss)
            state.update(active, *answers, early_stop=self.early_stop)
            watch.update(rows, state.values)
            if step in marks:
                state.checkpoint(self.rho * (step - last))
                last = step
        return Attempt(state.best, state.best_values, state.reached)


@register_attack("apgd-ce", source="Croce & Hein, 2020")
class APGDCE(AutoPGD):
    """Auto-PGD up the cross entropy: PGD with momentum that finds its own step size.

    ``paper``: five attempts of 100 steps; ``authors``: one, as in their package's standard. See
    :class:`AutoPGD` for the settings.
    """


@register_attack("apgd-dlr", source="Croce & Hein, 2020")
class APGDDLR(AutoPGD):
    """Auto-PGD up the difference-of-logits ratio, see :func:`nrpurify.attacks.losses.dlr`.

    The targeted ratio leads from ``labels`` (or the model's predictions for the clean images) to
    ``targets``. See :class:`AutoPGD` for the settings.

    Raises:
        InputError: A model of fewer than three classes, or four when targeted.
    """

    def perturb(self, problem: AttackProblem) -> Tensor:
        """The best of the attempts."""
        return super().perturb(problem.with_origin())

    def loss(self, criterion: Criterion, answers: Tensor) -> Tensor:
        """The ratio: N values that are to grow."""
        return dlr(criterion, answers)


def checkpoints(steps: int) -> list[int]:
    """After which steps the step size is reviewed: ⌈p·steps⌉, p = 0.22, 0.41, 0.57 ...

    p grows by 0.03 less each time, but by 0.06 at least.
    """
    marks, percent, gap = [], 22, 22
    while percent <= 100:
        marks.append(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return sorted(set(marks))


class ApgdState:
    """Where M images are, and the best places they have been to."""

    def __init__(
        self, start: Tensor, size: Tensor, values: Tensor, gradient: Tensor, reached: Tensor
    ) -> None:
        self.point = self.previous = start
        self.size, self.values, self.gradient, self.reached = size, values, gradient, reached
        self.best, self.best_gradient = start.clone(), gradient.clone()
        self.best_values, self.checkpoint_values = values.clone(), values.clone()
        self.rises = torch.zeros_like(values)
        self.every = torch.ones_like(reached)
        self.halved = self.every

    def move(self, ball: Ball, share: float) -> None:
        """A projected sign step, mixed with the last move."""
        ahead = ball.project(self.point + self.size * ball.direction(self.gradient))
        mixed = share * (ahead - self.point) + (1 - share) * (self.point - self.previous)
        self.previous, self.point = self.point, ball.project(self.point + mixed)

    def update(
        self,
        active: Tensor,
        values: Tensor,
        gradient: Tensor,
        reached: Tensor,
        *,
        early_stop: bool,
    ) -> None:
        """Take in values and gradients of the active ones of the present points."""
        self.rises[active] += (values > self.values[active]).to(values)
        better = values > self.best_values[active]
        better = better | reached if early_stop else better
        rows = active[better]
        self.best[rows] = self.point[rows]
        self.best_gradient[rows], self.best_values[rows] = gradient[better], values[better]
        self.values = self.values.index_copy(0, active, values)
        self.gradient = self.gradient.index_copy(0, active, gradient)
        self.reached = self.reached.index_copy(0, active, reached)

    def checkpoint(self, needed: float) -> None:
        """Halve the step and go back to the best point where there is no progress.

        That is (1) where no more than ``needed`` steps went up, as the authors' code counts, or
        (2) where no better point was found since the last checkpoint, at which the step was kept.
        """
        idle = ~self.halved & (self.best_values <= self.checkpoint_values)
        self.halved = (self.rises <= needed) | idle
        halve = self.halved.view(-1, 1, 1, 1)
        self.size = torch.where(halve, self.size / 2, self.size)
        self.point = torch.where(halve, self.best, self.point)
        self.gradient = torch.where(halve, self.best_gradient, self.gradient)
        self.checkpoint_values = self.best_values.clone()
        self.rises = torch.zeros_like(self.rises)


apgd_ce = functional(APGDCE)
apgd_dlr = functional(APGDDLR)
