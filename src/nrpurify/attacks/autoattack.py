"""AutoAttack: four attacks one after the other, each on what is left (Croce & Hein, 2020)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nrpurify.attacks.apgd import APGDCE, APGDDLR
from nrpurify.attacks.apgdt import APGDT
from nrpurify.attacks.base import COUNT, Attack, functional
from nrpurify.attacks.fab import FABT
from nrpurify.attacks.forward import forward, logits
from nrpurify.attacks.gradient_log import counting_rows, tell
from nrpurify.attacks.losses import margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.square import Square
from nrpurify.attacks.wrappers import EOT
from nrpurify.core.errors import InputError

EOT_SAMPLES = 20
"""Draws for one gradient of the version ``rand``."""
VERSIONS = ("standard", "rand")
TARGETED_CLASSES = 4
"""Fewest classes at which the targeted difference-of-logits ratio exists."""


@register_attack("autoattack", source="Croce & Hein, 2020", targeted=False)
class AutoAttack(Attack):
    """The ensemble of attacks by which RobustBench judges classifiers.

    ``standard``: ``apgd-ce``, ``apgd-t``, ``fab-t`` and ``square``. ``rand``, for models that
    answer differently each time: ``apgd-ce`` and ``apgd-dlr`` with gradients that are means of 20
    draws (:class:`~nrpurify.attacks.EOT`; a model that is an EOT keeps its own number). Each one
    attacks only what the ones before have left; an image is done when it is misclassified.

    A :class:`~nrpurify.core.errors.GradientWarning` (in commands a note) is issued for what makes
    its number too good: a random model with ``standard``, gradients of zeros, a model that computes
    gradients while it answers, answers that are probabilities, and images that only ``square``
    has misled. With fewer than four classes the targeted ratio does not exist: ``apgd-dlr`` is in
    its place, or with two classes none.

    Attributes:
        version: ``standard`` or ``rand``.
        steps: Of the attacks by gradients; published numbers have 100.
        queries: Of ``square``; published numbers have 5000.
    """

    ranges: ClassVar = {"queries": COUNT}

    version: Literal["standard", "rand"] = "standard"
    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        """Check the version too."""
        super().__post_init__()
        if self.version not in VERSIONS:
            raise InputError(f"version is {self.version!r}; expected {' or '.join(VERSIONS)}")

    def parts(self, classes: int) -> list[Attack]:
        """The attacks in their order, for a model of so many classes."""
        ascent = APGDCE(steps=self.steps, restarts=1)
        ratio = [APGDDLR(steps=self.steps, restarts=1)] if classes > 2 else []
        if self.version == "rand":
            return [ascent, *ratio]
        targeted = [APGDT(steps=self.steps)] if classes >= TARGETED_CLASSES else ratio
        return [ascent, *targeted, FABT(steps=self.steps), Square(steps=self.queries)]

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """What the first successful attack made of each image; the clean ones where none was."""
        if self.version == "rand" and not isinstance(problem.model, EOT):
            problem = replace(problem, model=EOT(problem.model, EOT_SAMPLES, batched=False))
        classes = self.diagnose(problem)
        rows = torch.arange(len(problem.clean), device=problem.clean.device)
        found = problem.clean.clamp(0, 1)
        values, done = problem.evaluate(found, rows, margin)
        watch = _Watch(problem, values)
        by_gradient: list[bool] = []
        for attack in self.parts(classes):
            rows = (~done).nonzero().flatten()
            if not len(rows):
                break
            part = replace(problem.only(rows), callback=watch.part(rows))
            with counting_rows(rows):
                images = attack.perturb(part)
            values, reached = problem.evaluate(images, rows, margin)
            found[rows[reached]] = images[reached]
            done[rows[reached]] = True
            by_gradient.append(bool(reached.any()))
            if isinstance(attack, Square) and by_gradient[-1]:
                tell(
                    "autoattack: square, which sees scores only, misled images that the attacks "
                    "by gradients had left: the gradients may be hidden, so attack the model by "
                    "BPDA or an attack of its own as well"
                )
        return found

    def diagnose(self, problem: AttackProblem) -> int:
        """Tell of what makes the result too good; returns the number of classes."""
        model, clean = problem.model, problem.clean

        def answer() -> Tensor:
            return forward(lambda batch: logits(model, batch), clean, problem.amp)

        with _watching_autograd() as calls:
            first = answer()
        again = [answer() for _ in range(2)]
        # kernels may round in another order; a random defense moves logits further
        apart = max(float((first - other).abs().max()) for other in again)
        is_random = apart > 1e-4 * max(float(first.abs().max()), 1.0)
        if is_random and self.version == "standard":
            tell(
                "autoattack: the model answers differently each time, and the version is "
                "standard; take version=rand, whose gradients are means of 20 draws"
            )
        if not is_random and self.version == "rand":
            tell(
                "autoattack: the model answers the same each time, and the version is rand; take "
                "version=standard, which is stronger for it"
            )
        if calls:
            tell(
                "autoattack: the model computes gradients while it answers, as a defense that "
                "optimizes at test time does; AutoAttack may not suffice for it"
            )
        mean = first.mean(1)
        sums = mean.sum(1)
        if mean.min() >= 0 and mean.max() <= 1 and bool(((sums - 1).abs() < 1e-3).all()):
            tell(
                "autoattack: the answers look like probabilities; the difference-of-logits ratio "
                "and steps by gradients need logits, so leave the softmax out"
            )
        if mean.shape[1] < TARGETED_CLASSES and self.version == "standard":
            tell(
                f"autoattack: the model has {mean.shape[1]} classes, and the targeted ratio needs "
                f"{TARGETED_CLASSES}: apgd-t is left out"
            )
        return mean.shape[1]


class _Watch:
    """Numbers the steps of all parts in one row, and fills values of the whole batch in."""

    def __init__(self, problem: AttackProblem, values: Tensor) -> None:
        self.problem, self.values, self.steps = problem, values.clone(), 0

    def part(self, rows: Tensor) -> Any:
        def callback(step: int, values: Tensor) -> None:
            self.steps += 1
            self.values[rows] = values
            self.problem.report(self.steps, self.values.clone())

        return callback


@contextmanager
def _watching_autograd() -> Iterator[list[str]]:
    """Names of the functions of ``torch.autograd`` that start a backward pass inside the block."""
    calls: list[str] = []

    def see(frame: FrameType, event: str, argument: Any) -> None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if event == "call" and code.co_name in ("grad", "backward") and module == "torch.autograd":
            calls.append(code.co_name)

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(before)


autoattack = functional(AutoAttack)
