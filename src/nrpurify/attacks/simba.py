"""SimBA, one coordinate after the other by scores (Guo et al., 2019)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of
from nrpurify.core.errors import InputError

BASES = ("pixel", "dct")


@register_attack("simba", source="Guo et al., 2019", needs="scores")
class SimBA(Attack):
    """Try a step up and then down along random directions of an orthonormal basis, and keep gains.

    A gain is a lower probability of the label, or a higher one of the target. The basis is that of
    single values, or of low frequencies of the discrete cosine transform; directions are taken
    without repetition until all have been tried. A step is one or two queries. Results are
    projected to the budget, which cuts steps short in ℓ∞.

    Attributes:
        steps: Number of directions tried.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target). False goes on.
        step_size: Length of a step, in units of [0, 1] images.
        basis: ``pixel`` or ``dct``.
        frequencies: Share, in (0, 1], of the lowest frequencies of each side that ``dct`` takes.
    """

    steps: int = 5000
    early_stop: bool = True
    step_size: float = 0.2
    basis: Literal["pixel", "dct"] = "pixel"
    frequencies: float = 1 / 8

    def __post_init__(self) -> None:
        """Check lengths and basis too."""
        super().__post_init__()
        if not self.step_size > 0:
            raise InputError(f"step_size is {self.step_size}; expected more than 0")
        if self.basis not in BASES:
            raise InputError(f"basis is {self.basis!r}; expected {' or '.join(BASES)}")
        if not 0 < self.frequencies <= 1:
            raise InputError(f"frequencies is {self.frequencies}; expected a value in (0, 1]")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """The images after all gains."""

        def attempt(rows: Tensor, watch: Watch) -> Attempt:
            return self.search(problem, problem.take(rows), rows, watch)

        return best_of(1, attempt, problem, confidence, early_stop=self.early_stop)

    def search(
        self, problem: AttackProblem, part: AttackProblem, rows: Tensor, watch: Watch
    ) -> Attempt:
        """Try the directions of M images, whose indices in the whole batch are ``rows``."""
        best = part.clean.clamp(0, 1)
        values, reached = problem.evaluate(best, rows, confidence)
        directions = [self.directions(best[0].shape, one) for one in part.generators]
        for _ in range(self.steps):
            watch.update(rows, values)
            active = (~reached if self.early_stop else torch.ones_like(reached)).nonzero().flatten()
            if not len(active):
                break
            watch.step()
            moves = torch.stack([next(directions[row]) for row in active.tolist()]).to(best)
            for sign in (1, -1):
                trial = part.take(active).project(best[active] + sign * self.step_size * moves)
                new, hit = problem.evaluate(trial, rows[active], confidence)
                gain = new > values[active]
                kept = active[gain]
                best[kept], values[kept], reached[kept] = trial[gain], new[gain], hit[gain]
                active, moves = active[~gain], moves[~gain]
                if not len(active):
                    break
        watch.update(rows, values)
        return Attempt(best, values, reached)

    def directions(self, shape: torch.Size, generator: Generator) -> Directions:
        """The basis of images of a shape, in random order, over and over."""
        return Directions(self.basis, self.frequencies, shape, generator)


class Directions:
    """Iterates over orthonormal directions 3×H×W in random order, again and again."""

    def __init__(self, basis: str, share: float, shape: torch.Size, generator: Generator) -> None:
        self.basis, self.shape, self.generator = basis, shape, generator
        self.sides = [
            side if basis == "pixel" else max(round(share * side), 1) for side in shape[1:]
        ]
        self.order: list[int] = []
        self.waves = [
            cosines(side, count) for side, count in zip(shape[1:], self.sides, strict=True)
        ]

    def __next__(self) -> Tensor:
        """The next direction, of length 1."""
        if not self.order:
            count = self.shape[0] * self.sides[0] * self.sides[1]
            self.order = torch.randperm(count, generator=self.generator, device="cpu").tolist()
        place, column = divmod(self.order.pop(), self.sides[1])
        channel, row = divmod(place, self.sides[0])
        direction = torch.zeros(self.shape)
        if self.basis == "pixel":
            direction[channel, row, column] = 1
        else:
            direction[channel] = self.waves[0][row][:, None] * self.waves[1][column]
        return direction


def cosines(side: int, count: int) -> Tensor:
    """The first rows of the orthonormal discrete cosine transform (type II): count×side."""
    places = (torch.arange(side) + 0.5) * math.pi / side
    rows = (torch.arange(count)[:, None] * places).cos() * math.sqrt(2 / side)
    rows[0] /= math.sqrt(2)
    return rows


def confidence(criterion: Criterion, answers: Tensor) -> Tensor:
    """Minus the probability of the label, or that of the target: N values that are to grow."""
    criterion.check(answers.shape[2])
    chances = answers.softmax(2).mean(1)
    return -criterion.sign * chances.gather(1, criterion.classes[:, None])[:, 0]


simba = functional(SimBA)
