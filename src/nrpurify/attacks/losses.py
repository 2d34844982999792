"""Losses of attacks on classifiers: cross entropy, margin, difference-of-logits ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.random import check_generator


@dataclass(frozen=True)
class Criterion:
    """The classes that an attack leads away from, or toward (targeted).

    Attributes:
        classes: N class indices.
        targeted: Whether it leads toward them.
        origin: The N classes that a targeted attack comes from, which the targeted ratio needs.
    """

    classes: Tensor
    targeted: bool = False
    origin: Tensor | None = None

    @property
    def sign(self) -> int:
        """+1 away from the classes, -1 toward them."""
        return -1 if self.targeted else +1

    def loss(self, answers: Tensor) -> Tensor:
        """N values that are to grow: signed cross entropy of N×draws×classes logits,
        mean of the draws.

        Raises:
            InputError: A class that the model does not have.
        """
        count, draws, known = answers.shape
        self.check(known)
        classes = self.classes.repeat_interleave(draws)
        each = F.cross_entropy(answers.flatten(0, 1), classes, reduction="none")
        return self.sign * each.view(count, draws).mean(1)

    def check(self, known: int) -> None:
        """Raise InputError when a model of ``known`` classes lacks one of these."""
        _check_range(self.classes, known, "targets" if self.targeted else "labels")
        if self.origin is not None:
            _check_range(self.origin, known, "labels")

    def take(self, rows: Tensor) -> Criterion:
        """The criterion of some of the images, by their indices."""
        origin = None if self.origin is None else self.origin[rows]
        return replace(self, classes=self.classes[rows], origin=origin)

    def reached(self, answers: Tensor) -> Tensor:
        """N booleans: whether the mean of the N×draws×classes logits fulfills it."""
        there = answers.mean(1).argmax(1) == self.classes
        return there if self.targeted else ~there


@dataclass(frozen=True)
class Escape(Criterion):
    """Leads from ``origin`` toward one class, and is fulfilled by any class but the origin."""

    def reached(self, answers: Tensor) -> Tensor:
        """N booleans: whether the mean of the N×draws×classes logits is not the origin's."""
        assert self.origin is not None
        return answers.mean(1).argmax(1) != self.origin


def given_criterion(
    images: Tensor, labels: Tensor | None, targets: Tensor | None
) -> Criterion | None:
    """Toward the targets when there are any, else away from the labels; None without either.

    Args:
        images: N×3×H×W.
        labels: N class indices from 0.
        targets: N class indices from 0.

    Raises:
        InputError: Labels or targets that are not N integers.
    """
    if targets is not None:
        return Criterion(_checked(targets, images, "targets"), targeted=True)
    return None if labels is None else Criterion(_checked(labels, images, "labels"))


def random_targets(labels: Tensor, classes: int, generator: Generator | None = None) -> Tensor:
    """N classes drawn evenly from those that are not the label.

    Args:
        labels: N class indices from 0.
        classes: How many there are, at least 2.
        generator: A CPU generator.

    Raises:
        InputError: Another generator.
    """
    check_generator(generator)
    steps = torch.randint(1, classes, labels.shape, generator=generator, device="cpu")
    return (labels + steps.to(labels.device)) % classes


def _checked(classes: Tensor, images: Tensor, name: str) -> Tensor:
    if not isinstance(classes, Tensor):
        raise InputError(f"{name} is a {type(classes).__name__}; expected a tensor of integers")
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise InputError(f"{name} is {classes.dtype}; expected integers, such as torch.int64")
    if classes.shape != (len(images),):
        raise InputError(
            f"{name} has shape {tuple(classes.shape)} for {len(images)} images; "
            f"expected ({len(images)},)"
        )
    return classes.to(images.device, torch.int64)


def _check_range(classes: Tensor, known: int, name: str) -> None:
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= known:
        worst = low if low < 0 else high
        hint = "; labels that count from 1 need 1 subtracted" if worst == known else ""
        raise InputError(
            f"{name} has class {worst}; the surrogate has classes 0 to {known - 1}{hint}"
        )


TINY = 1e-12
"""Keeps a ratio finite where the first and third logit are equal."""


def margin(criterion: Criterion, answers: Tensor) -> Tensor:
    """By how much the logits favor the criterion; positive when the attack has succeeded.

    Untargeted the greatest other logit minus the label's, targeted the target's minus the greatest
    other one.

    Args:
        criterion: What is wanted.
        answers: N×draws×classes logits.

    Returns:
        N values, means of the draws.

    Raises:
        InputError: A class that the model does not have.
    """
    criterion.check(answers.shape[2])
    return criterion.sign * _others_lead(answers, criterion.classes).mean(1)


def dlr(criterion: Criterion, answers: Tensor) -> Tensor:
    """The difference-of-logits ratio (Croce & Hein, 2020).

    Untargeted the margin over the distance from the first to the third logit in order; targeted
    the target's logit minus the label's over the distance from the first to the mean of third and
    fourth. It stays the same when all logits are multiplied by, or moved by, a number.

    Args:
        criterion: What is wanted; with ``origin`` if it is targeted.
        answers: N×draws×classes logits.

    Returns:
        N values, means of the draws.

    Raises:
        InputError: Fewer than three classes (targeted: four), or a class that there is not.
    """
    criterion.check(answers.shape[2])
    if criterion.origin is None:
        first, _, third = _top(answers, 3)
        return (_others_lead(answers, criterion.classes) / (first - third + TINY)).mean(1)
    first, _, third, fourth = _top(answers, 4)
    gain = _logit(answers, criterion.classes) - _logit(answers, criterion.origin)
    return (gain / (first - (third + fourth) / 2 + TINY)).mean(1)


def lead(criterion: Criterion, answers: Tensor) -> Tensor:
    """The target's logit minus that of the origin, N values, means of the draws.

    Args:
        criterion: Targeted, with ``origin``.
        answers: N×draws×classes logits.
    """
    assert criterion.origin is not None
    criterion.check(answers.shape[2])
    gain = _logit(answers, criterion.classes) - _logit(answers, criterion.origin)
    return gain.mean(1)


def _top(answers: Tensor, count: int) -> tuple[Tensor, ...]:
    if answers.shape[2] < count:
        raise InputError(
            f"the difference-of-logits ratio needs at least {count} classes here; the surrogate "
            f"has {answers.shape[2]}: take the cross entropy (apgd-ce)"
        )
    return answers.topk(count, 2).values.unbind(2)


def _index(answers: Tensor, classes: Tensor) -> Tensor:
    return classes.view(-1, 1, 1).expand(-1, answers.shape[1], 1)


def _logit(answers: Tensor, classes: Tensor) -> Tensor:
    return answers.gather(2, _index(answers, classes))[..., 0]


def _others_lead(answers: Tensor, classes: Tensor) -> Tensor:
    others = answers.scatter(2, _index(answers, classes), -float("inf")).amax(2)
    return others - _logit(answers, classes)


LogitLoss = Callable[[Criterion, Tensor], Tensor]
"""Maps a criterion of N images and their N×draws×classes logits to the N values that grow."""
