"""Where an attack on a classifier wants to go: away from labels, or toward targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError


@dataclass(frozen=True)
class Goal:
    """Where an attack on a classifier wants to go.

    Attributes:
        classes: N class indices.
        sign: +1 away from them, -1 toward them.
        origin: The N classes that a targeted attack comes from, where its loss asks for them.
    """

    classes: Tensor
    sign: int
    origin: Tensor | None = None

    def loss(self, answers: Tensor) -> Tensor:
        """N values that are to grow: signed cross entropy of N×draws×classes, mean of the draws.

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
        _check_range(self.classes, known, "labels" if self.sign > 0 else "targets")
        if self.origin is not None:
            _check_range(self.origin, known, "labels")

    def take(self, rows: Tensor) -> Goal:
        """The goal of some of the images, by their indices."""
        origin = None if self.origin is None else self.origin[rows]
        return Goal(self.classes[rows], self.sign, origin)

    def reached(self, answers: Tensor) -> Tensor:
        """N booleans: whether the mean of the N×draws×classes logits says so."""
        there = answers.mean(1).argmax(1) == self.classes
        return ~there if self.sign > 0 else there


def given_goal(images: Tensor, labels: Tensor | None, targets: Tensor | None) -> Goal | None:
    """Toward the targets when there are any, else away from the labels; None without either.

    Args:
        images: N×3×H×W.
        labels: N class indices from 0.
        targets: N class indices from 0.

    Raises:
        InputError: Labels or targets that are not N integers.
    """
    if targets is not None:
        return Goal(_checked(targets, images, "targets"), -1)
    return None if labels is None else Goal(_checked(labels, images, "labels"), +1)


def random_targets(labels: Tensor, classes: int, generator: Generator | None = None) -> Tensor:
    """N classes drawn evenly from those that are not the label.

    Args:
        labels: N class indices from 0.
        classes: How many there are, at least 2.
        generator: A CPU generator.
    """
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
