"""What an attack is given: a batch, its budget, its goal and its randomness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from nrpurify.attacks.constraints import Ball, Eps, ball_around, per_sample
from nrpurify.attacks.forward import forward_in_batches, logits
from nrpurify.attacks.forward import predict as predict_classes
from nrpurify.attacks.gradient import (
    Callback,
    Objective,
    value_and_gradient,
)
from nrpurify.attacks.gradient_log import usable
from nrpurify.attacks.losses import Criterion, LogitLoss, given_criterion
from nrpurify.attacks.starts import GeneratorLike, Start, per_image, start_each
from nrpurify.core.precision import Amp, autocast


@dataclass(frozen=True)
class AttackProblem:
    """A batch, its budget, its goal and its randomness, as :meth:`Attack.perturb` gets them.

    Attributes:
        model: The network under attack, frozen.
        clean: N×3×H×W images in [0, 1], at least fp32.
        radii: N×1×1×1 budgets.
        norm: Of the budget.
        criterion: The classes to lead away from or toward; None for attacks without labels.
        labels: N checked labels as given, beside targets; None without.
        source: Generators as given; see :attr:`generators`.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
        callback: As given; call :meth:`report`.
    """

    model: Any
    clean: Tensor
    radii: Tensor
    norm: str = "linf"
    criterion: Criterion | None = None
    labels: Tensor | None = None
    source: GeneratorLike = None
    amp: Amp = False
    callback: Callback | None = None

    @cached_property
    def generators(self) -> list[Generator]:
        """One generator an image, so that no result depends on the batch."""
        return per_image(self.source, len(self.clean))

    @cached_property
    def ball(self) -> Ball:
        """The images that an attack may return."""
        return ball_around(self.clean, self.radii, self.norm)

    @property
    def goal(self) -> Criterion:
        """The criterion of an attack that uses labels."""
        assert self.criterion is not None
        return self.criterion

    def project(self, images: Tensor) -> Tensor:
        """The nearest images within the budget and [0, 1]."""
        return self.ball.project(images)

    def loss(self, images: Tensor) -> Tensor:
        """The N values that are to grow: cross entropy, minus it when targeted."""
        with autocast(images.device, self.amp):
            answers = logits(self.model, images)
        return self.goal.loss(answers)

    def gradient(self, images: Tensor, loss: Objective | None = None) -> Tensor:
        """The gradient N×3×H×W of the sum of :meth:`loss`, or of another, with finite entries."""
        return usable(value_and_gradient(loss or self.loss, images)[1])

    def step(self, images: Tensor, gradient: Tensor, size: Eps) -> Tensor:
        """A step of length ``size`` along the gradient, projected: its sign in ℓ∞."""
        length = per_sample(size, images, "step_size", self.norm)
        return self.project(images + length * self.ball.direction(gradient))

    def start(self, kind: str | Start = "uniform", share: float = 1.0) -> Tensor:
        """A start by name, see :data:`nrpurify.attacks.starts.STARTS`, projected.

        Args:
            kind: The name, or a function.
            share: Share of the budget that it may use, in both norms.
        """
        radii = share * self.radii
        begin = start_each(kind, self.clean, radii, self.generators)
        return ball_around(self.clean, radii, self.norm).project(begin)

    def report(self, step: int, values: Tensor) -> None:
        """Tell the caller's callback of a step, numbered from 1, and its N values."""
        if self.callback is not None:
            self.callback(step, values.detach())

    def take(self, rows: Tensor) -> AttackProblem:
        """The images of these indices; model and criterion stay those of the whole batch."""
        generators = [self.generators[row] for row in rows.tolist()]
        return replace(self, clean=self.clean[rows], radii=self.radii[rows], source=generators)

    def only(self, rows: Tensor) -> AttackProblem:
        """The problem of these images alone, by their indices; no callback."""
        return replace(
            self.take(rows),
            criterion=None if self.criterion is None else self.criterion.take(rows),
            labels=None if self.labels is None else self.labels[rows],
            callback=None,
        )

    def with_origin(self) -> AttackProblem:
        """The problem whose targeted criterion has an origin: the labels, else the predictions."""
        if not self.goal.targeted:
            return self
        source = given_criterion(self.clean, self.labels, None)
        origin = (
            predict_classes(self.model, self.clean, self.amp)
            if source is None
            else (source.classes)
        )
        return replace(self, criterion=replace(self.goal, origin=origin))

    def evaluate(self, images: Tensor, rows: Tensor, loss: LogitLoss) -> tuple[Tensor, Tensor]:
        """Values of M images, and whether the criterion is fulfilled.

        Args:
            images: M×3×H×W.
            rows: Their M indices in the whole batch.
            loss: The value that is to grow.
        """
        parts = torch.split(images, 1)
        answers = forward_in_batches(lambda part: logits(self.model, part), parts, self.amp)
        criterion = self.goal.take(rows)
        return loss(criterion, answers), criterion.reached(answers)

    def evaluate_gradient(
        self, images: Tensor, rows: Tensor, loss: LogitLoss
    ) -> tuple[Tensor, Tensor, Tensor]:
        """M values, the gradient M×3×H×W of their sum, and whether the criterion is fulfilled."""
        found: list[Tensor] = []

        def objective(point: Tensor) -> Tensor:
            values, reached = self.evaluate(point, rows, loss)
            found.append(reached)
            return values

        values, gradient = value_and_gradient(objective, images)
        return values, usable(gradient, rows, found[0]), found[0]
