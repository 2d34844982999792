"""Targeted Auto-PGD toward each of the most likely classes (Croce & Hein, 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.apgd import AutoPGD
from nrpurify.attacks.base import COUNT, functional
from nrpurify.attacks.forward import forward, logits
from nrpurify.attacks.losses import Criterion, Escape, dlr, margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of


@register_attack("apgd-t", source="Croce & Hein, 2020", targeted=False)
class APGDT(AutoPGD):
    """Auto-PGD up the targeted ratio toward each of the most likely other classes in turn.

    An image is done when it is misclassified, whatever the class. The classes are ranked by the
    clean image's logits. Its callback sees ratios.

    ``paper`` and ``authors``: as in AutoAttack, one attempt a class. See
    :class:`~nrpurify.attacks.apgd.AutoPGD` for the other settings.

    Attributes:
        restarts: Number of attempts a class.
        classes: How many classes it leads toward; a model with fewer has all others tried.

    Raises:
        InputError: A model of fewer than four classes.
    """

    presets: ClassVar = {}
    ranges: ClassVar = {**AutoPGD.ranges, "classes": COUNT}

    restarts: int = 1
    classes: int = 9

    def loss(self, criterion: Criterion, answers: Tensor) -> Tensor:
        """The targeted ratio: N values that are to grow."""
        return dlr(criterion, answers)

    def perturb(self, problem: AttackProblem) -> Tensor:
        """The best of the attempts."""
        toward = escapes(problem, self.classes)
        attempts = 0

        def attempt(rows: Tensor, watch: Watch) -> Attempt:
            nonlocal attempts
            goal = toward[attempts % len(toward)]
            aim = replace(problem, criterion=goal, source=problem.generators)
            attempts += 1
            part = aim.take(rows)
            found = self.ascend(aim, part, part.start("uniform"), rows, watch)
            values, reached = problem.evaluate(found.images, rows, margin)
            return Attempt(found.images, values, reached)

        count = self.restarts * len(toward)
        return best_of(count, attempt, problem, margin, early_stop=self.early_stop)


@torch.no_grad()
def escapes(problem: AttackProblem, count: int) -> list[Escape]:
    """Criteria away from the labels toward the ``count`` classes that are most likely when clean.

    Args:
        problem: Untargeted.
        count: How many; fewer where the model has fewer other classes.
    """
    answers = forward(lambda batch: logits(problem.model, batch), problem.clean, problem.amp)
    origin = problem.goal.classes
    problem.goal.check(answers.shape[2])
    others = answers.mean(1).scatter(1, origin[:, None], -float("inf"))
    ranked = others.topk(min(count, answers.shape[2] - 1), 1).indices
    return [Escape(classes, True, origin) for classes in ranked.unbind(1)]


apgd_t = functional(APGDT)
