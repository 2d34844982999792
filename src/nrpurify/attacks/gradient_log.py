"""Gradients that lead nowhere: all zeros, NaN or infinite values, counted image by image.

An attack that meets them leaves images as they are, and a model then looks robust that is not. So
every attack counts them. :func:`log_gradients` collects the counts of the attacks inside its block;
attacks outside of any block issue a :class:`~nrpurify.core.errors.GradientWarning`.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.attacks.constraints import norms
from nrpurify.core.errors import GradientWarning


@dataclass(frozen=True)
class GradientCount:
    """What an attack met at one image.

    Attributes:
        zero_steps: Gradients that were zero everywhere: one a step, or more where an attack takes
            several.
        not_finite: NaN and infinite entries of the gradients of all steps.
    """

    zero_steps: int = 0
    not_finite: int = 0

    def to_dict(self) -> dict[str, int]:
        """The counts that are not zero, for a manifest."""
        return {name: count for name, count in vars(self).items() if count}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> GradientCount:
        """What :meth:`to_dict` wrote; None for an image without counts."""
        given = values or {}
        return cls(*(int(given.get(name, 0)) for name in ("zero_steps", "not_finite")))


class _OneAttack:
    """The counts of one attack while it runs, on the device of its images."""

    def __init__(self, images: Tensor) -> None:
        self.zero_steps, self.not_finite = (
            torch.zeros(len(images), dtype=torch.int64, device=images.device) for _ in range(2)
        )

    def add(
        self, gradient: Tensor, finite: Tensor, rows: Tensor | None, done: Tensor | None
    ) -> None:
        zero = (gradient == 0).flatten(1).all(1)
        zero = (zero if done is None else zero & ~done).long()
        broken = (~finite).flatten(1).sum(1)
        every = torch.arange(len(zero), device=zero.device) if rows is None else rows
        self.zero_steps.index_add_(0, every, zero)
        self.not_finite.index_add_(0, every, broken)

    def counts(self) -> list[GradientCount]:
        pairs = zip(self.zero_steps.tolist(), self.not_finite.tolist(), strict=True)
        return [GradientCount(*pair) for pair in pairs]


@dataclass
class GradientLog:
    """The counts of all images attacked inside a block of :func:`log_gradients`, in their order."""

    images: list[GradientCount] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """What attacks told of the model, see :func:`tell`; each text once."""

    def notes(self) -> list[str]:
        """Sentences for the user, none where all gradients were usable."""
        return [*gradient_notes(self.images), *self.texts]


_running: ContextVar[_OneAttack | None] = ContextVar("running", default=None)
_log: ContextVar[GradientLog | None] = ContextVar("log", default=None)


@contextmanager
def log_gradients() -> Iterator[GradientLog]:
    """Collect what the attacks in this block meet; they issue no warnings then."""
    log = GradientLog()
    token = _log.set(log)
    try:
        yield log
    finally:
        _log.reset(token)


@contextmanager
def counting(images: object) -> Iterator[None]:
    """Count the gradients of one attack on N×3×H×W ``images``, and report them at its end."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        yield
        return
    attack = _OneAttack(images)
    token = _running.set(attack)
    try:
        yield
    finally:
        _running.reset(token)
    report(attack.counts())


def report(counts: Sequence[GradientCount]) -> None:
    """Add counts to the log of the block around; without one issue warnings."""
    log = _log.get()
    if log is not None:
        log.images += counts
        return
    for text in gradient_notes(counts):
        tell(text)


def tell(text: str) -> None:
    """Add a sentence about the model to the log of the block around; without one issue a warning.

    Args:
        text: Without numbers of the batch, so that all groups of images have the same.
    """
    log = _log.get()
    if log is None:
        warnings.warn(text, GradientWarning, stacklevel=_level_of_the_caller())
    elif text not in log.texts:
        log.texts.append(text)


@contextmanager
def counting_rows(rows: Tensor) -> Iterator[None]:
    """Count the gradients of an attack on some images of the running one, by their indices."""
    outer = _running.get()
    if outer is None:
        yield
        return
    inner = _OneAttack(rows)
    token = _running.set(inner)
    try:
        yield
    finally:
        _running.reset(token)
    outer.zero_steps.index_add_(0, rows, inner.zero_steps)
    outer.not_finite.index_add_(0, rows, inner.not_finite)


def _level_of_the_caller() -> int:
    """The ``stacklevel`` of the line that called the attack."""
    inside = (str(Path(__file__).parent), contextlib.__file__)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    return level


def usable(gradient: Tensor, rows: Tensor | None = None, done: Tensor | None = None) -> Tensor:
    """The gradient with finite entries only; what is wrong with it is counted.

    A NaN entry becomes 0. An infinite one keeps its sign and gets the greatest finite magnitude of
    its image (1 without any), so that it moves its own value and no sum of others is drowned.

    Args:
        gradient: M×3×H×W.
        rows: Indices of the M images in the attack's batch; None for all of it.
        done: M booleans: images that have reached their goal, where zeros are no fault (the
            difference-of-logits ratio is constant there).
    """
    if gradient.device.type == "cpu":  # where it costs no wait to look
        largest = norms(gradient, torch.inf)
        if bool((largest.isfinite() & (largest > 0)).all()):
            return gradient
    finite = gradient.isfinite()
    attack = _running.get()
    if attack is not None:
        attack.add(gradient, finite, rows, done)
    sizes = norms(torch.where(finite, gradient, 0), torch.inf)
    largest = torch.where(sizes > 0, sizes, 1).view(-1, 1, 1, 1)
    signed = torch.where(gradient.isnan(), 0, gradient.sign() * largest)
    return torch.where(finite, gradient, signed)


def gradient_notes(images: Iterable[GradientCount]) -> list[str]:
    """Sentences about the counts of N images, none where all gradients were usable."""
    known = list(images)
    zero = [one.zero_steps for one in known if one.zero_steps]
    broken = [one.not_finite for one in known if one.not_finite]
    found = []
    if zero:
        found.append(
            f"the gradient of {len(zero)} of {len(known)} images was zero everywhere, at "
            f"{sum(zero)} steps in all: the attack could not follow it there, so images that "
            "survive say nothing about robustness; try BPDA, square, or a model whose logits are "
            "not saturated"
        )
    if broken:
        found.append(
            f"the gradients of {len(broken)} of {len(known)} images had {sum(broken)} NaN or "
            "infinite entries: NaN counted as 0, infinite ones as the largest finite entry of "
            "their image"
        )
    return found
