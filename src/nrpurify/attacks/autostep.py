"""Auto-PGD's ascent, which finds its own step size (Croce & Hein, 2020, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrpurify.attacks.box import Box
from nrpurify.attacks.judge import Judge
from nrpurify.attacks.restarts import Attempt, Watch, check_counts


@dataclass(frozen=True)
class ApgdPlan:
    """What Auto-PGD does besides its budget and its goal.

    Attributes:
        steps: Number of gradient steps of an attempt.
        restarts: Number of attempts.
        early_stop: Whether an image is left alone as soon as the goal is reached.
        momentum: Share α of the new direction in a step; the last step has the rest.
        rho: Share of steps between two checkpoints that has to go up; else the step is halved.

    Raises:
        InputError: Fewer than one step or restart.
    """

    steps: int = 100
    restarts: int = 5
    early_stop: bool = True
    momentum: float = 0.75
    rho: float = 0.75

    def __post_init__(self) -> None:
        check_counts(self.steps, self.restarts)


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


@torch.no_grad()
def auto_ascend(
    judge: Judge, box: Box, start: Tensor, size: Tensor, rows: Tensor, plan: ApgdPlan, watch: Watch
) -> Attempt:
    """Ascend once from ``start``.

    Args:
        judge: Tells values and gradients.
        box: Of the M images.
        start: M×3×H×W inside the box.
        size: First length of a step, M×1×1×1; the paper's is twice eps.
        rows: Indices of the images in the judge's batch.
        plan: The settings.
        watch: Told of each step.

    Returns:
        The points of greatest value, or with ``early_stop`` the first that reach the goal.
    """
    climb = _Climb(start, size, *judge.with_gradient(start, rows))
    watch.update(rows, climb.values)
    marks, reviewed = checkpoints(plan.steps), 0
    for step in range(1, plan.steps + 1):
        active = (~climb.reached if plan.early_stop else climb.every).nonzero().flatten()
        if not len(active):
            break
        watch.step()
        climb.move(box, plan.momentum if step > 1 else 1.0)
        answers = judge.with_gradient(climb.point[active], rows[active])
        climb.learn(active, *answers, early_stop=plan.early_stop)
        watch.update(rows, climb.values)
        if step in marks:
            climb.review(plan.rho * (step - reviewed))
            reviewed = step
    return Attempt(climb.best, climb.best_values, climb.reached)


class _Climb:
    """Where M images are, and the best places they have been to."""

    def __init__(
        self, start: Tensor, size: Tensor, values: Tensor, gradient: Tensor, reached: Tensor
    ) -> None:
        self.point = self.previous = start
        self.size, self.values, self.gradient, self.reached = size, values, gradient, reached
        self.best, self.best_gradient = start.clone(), gradient.clone()
        self.best_values, self.reviewed_values = values.clone(), values.clone()
        self.rises = torch.zeros_like(values)
        self.every = torch.ones_like(reached)
        self.halved = self.every

    def move(self, box: Box, share: float) -> None:
        """A projected sign step, mixed with the last move."""
        ahead = box.project(self.point + self.size * self.gradient.sign())
        mixed = share * (ahead - self.point) + (1 - share) * (self.point - self.previous)
        self.previous, self.point = self.point, box.project(self.point + mixed)

    def learn(
        self,
        active: Tensor,
        values: Tensor,
        gradient: Tensor,
        reached: Tensor,
        *,
        early_stop: bool,
    ) -> None:
        """Take in what the judge says of the active ones of the present points."""
        self.rises[active] += (values > self.values[active]).to(values)
        better = values > self.best_values[active]
        better = better | reached if early_stop else better
        rows = active[better]
        self.best[rows] = self.point[rows]
        self.best_gradient[rows], self.best_values[rows] = gradient[better], values[better]
        self.values = self.values.index_copy(0, active, values)
        self.gradient = self.gradient.index_copy(0, active, gradient)
        self.reached = self.reached.index_copy(0, active, reached)

    def review(self, needed: float) -> None:
        """Halve the step and go back to the best point where there is no progress.

        That is (1) where no more than ``needed`` steps went up, as the authors' code counts, or
        (2) where no better point was found since the last review, at which the step was kept.
        """
        idle = ~self.halved & (self.best_values <= self.reviewed_values)
        self.halved = (self.rises <= needed) | idle
        halve = self.halved.view(-1, 1, 1, 1)
        self.size = torch.where(halve, self.size / 2, self.size)
        self.point = torch.where(halve, self.best, self.point)
        self.gradient = torch.where(halve, self.best_gradient, self.gradient)
        self.reviewed_values = self.best_values.clone()
        self.rises = torch.zeros_like(self.rises)
