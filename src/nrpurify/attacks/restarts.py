"""Several attempts at an image, of which the best counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nrpurify.attacks.gradient import Callback
from nrpurify.attacks.losses import LogitLoss
from nrpurify.attacks.problem import AttackProblem


class Attempt(NamedTuple):
    """The best that one attempt found: M×3×H×W images, M values, M times whether it suffices."""

    images: Tensor
    values: Tensor
    reached: Tensor


class Watch:
    """Reports values of a whole batch to a callback while only a part is still attacked.

    Args:
        callback: Called at each :meth:`step`, numbered from 1 through all attempts.
        values: The N values in the beginning.
    """

    def __init__(self, callback: Callback | None, values: Tensor) -> None:
        self.callback, self.values, self.steps = callback, values.clone(), 0

    def update(self, rows: Tensor, values: Tensor) -> None:
        """Note new values of some images."""
        self.values[rows] = values

    def step(self) -> None:
        """Count a step and report it."""
        self.steps += 1
        if self.callback is not None:
            self.callback(self.steps, self.values.clone())


Try = Callable[[Tensor, Watch], Attempt]
"""Attacks the images of these M indices once."""


@torch.no_grad()
def best_of(
    restarts: int,
    attempt: Try,
    problem: AttackProblem,
    loss: LogitLoss,
    *,
    early_stop: bool,
) -> Tensor:
    """Keep the best of several attempts, which is never worse than the clean image.

    Args:
        restarts: How many attempts are made.
        attempt: Makes one.
        problem: N images.
        loss: The value that is to grow.
        early_stop: Leave images alone that need no (further) attempt.

    Returns:
        N×3×H×W: with ``early_stop`` the first images that sufficed, else those of greatest value.
    """
    clean = problem.clean
    everything = torch.arange(len(clean), device=clean.device)
    found = clean.clamp(0, 1)  # a little outside is admitted
    best, done = problem.evaluate(clean, everything, loss)
    watch = Watch(problem.callback, best)
    for _ in range(restarts):
        rows = everything[~done] if early_stop else everything
        if not len(rows):
            break
        images, values, reached = attempt(rows, watch)
        better = values > best[rows]
        if early_stop:
            done[rows] = reached
            better = better | reached
        found[rows[better]], best[rows[better]] = images[better], values[better]
    return found
