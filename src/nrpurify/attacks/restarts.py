"""Several attempts at an image, of which the best counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.judge import Judge
from nrpurify.core.errors import InputError


class Attempt(NamedTuple):
    """The best that one attempt found: M×3×H×W images, M values, M times whether it suffices."""

    images: Tensor
    values: Tensor
    reached: Tensor


class Watch:
    """Tells a callback of a batch, of which only a part is still worked on.

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
        """Count a step and tell of it."""
        self.steps += 1
        if self.callback is not None:
            self.callback(self.steps, self.values.clone())


Try = Callable[[Tensor, Watch], Attempt]
"""Attacks the images of these M indices once."""


def check_counts(steps: int, restarts: int) -> None:
    """Raise InputError unless both are at least 1."""
    for name, value in (("steps", steps), ("restarts", restarts)):
        if value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")


@torch.no_grad()
def best_of(
    restarts: int,
    attempt: Try,
    clean: Tensor,
    judge: Judge,
    *,
    early_stop: bool,
    callback: Callback | None = None,
) -> Tensor:
    """Attempt it again and again; what is found is never worse than the clean image.

    Args:
        restarts: How many attempts are made.
        attempt: Makes one.
        clean: N×3×H×W in [0, 1].
        judge: Judges the clean images.
        early_stop: Leave images alone that need no (further) attempt.
        callback: See :class:`Watch`.

    Returns:
        N×3×H×W: with ``early_stop`` the first images that sufficed, else those of greatest value.
    """
    everything = torch.arange(len(clean), device=clean.device)
    found = clean.clamp(0, 1)  # a little outside is admitted
    best, done = judge(clean, everything)
    watch = Watch(callback, best)
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
