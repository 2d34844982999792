"""Square attack: random search that sees scores only (Andriushchenko et al., 2020)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from nrpurify.attacks import square_l2
from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.losses import margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of
from nrpurify.core.errors import InputError
from nrpurify.core.random import random_integer

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which queries, of 10000, the squares' share of the image is halved."""


@register_attack("square", source="Andriushchenko et al., 2020", needs="scores")
class Square(Attack):
    """Paint squares and keep those that raise the margin; it needs no gradient.

    In ℓ∞ squares have the color of ±eps, and the first query is of vertical stripes of them. In ℓ2
    a square gets a pattern of two opposite peaks, with the length that another square, which is
    cleared, gives back; the first query is tiled with such patterns. The callback is called before
    each query with the greatest margins so far; its steps are numbered through all attempts.

    ``paper``: as in AutoAttack (Croce & Hein, 2020); ``authors``: their code's, for ImageNet.

    Attributes:
        steps: Number of queries of an attempt, besides one of the clean image.
        restarts: Number of attempts.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target), which may be at once. False goes on to the greatest margin.
        p_init: Share of the image, in (0, 1], that the first squares cover.
    """

    presets: ClassVar = {"authors": {"steps": 10000, "p_init": 0.05}}

    steps: int = 5000
    restarts: int = 1
    early_stop: bool = True
    p_init: float = 0.8

    def __post_init__(self) -> None:
        """Check the share too."""
        super().__post_init__()
        if not 0 < self.p_init <= 1:
            raise InputError(f"p_init is {self.p_init}; expected a value in (0, 1]")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """The best of the attempts."""
        return best_of(
            self.restarts,
            lambda rows, watch: _search(problem, problem.take(rows), rows, self, watch),
            problem,
            margin,
            early_stop=self.early_stop,
        )

    def side(self, step: int, height: int, width: int) -> int:
        """Side in pixels of the square of the ``step``-th proposal, counting from 0."""
        at = step * 10000 // self.steps
        share = self.p_init / 2 ** sum(at > mark for mark in HALVINGS)
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _search(
    problem: AttackProblem, part: AttackProblem, rows: Tensor, plan: Square, watch: Watch
) -> Attempt:
    watch.step()
    flat = problem.norm == "linf"
    start, paint = (_stripes, _painted) if flat else (square_l2.tiles, square_l2.moved)
    best = part.project(start(part))
    values, reached = problem.evaluate(best, rows, margin)
    for step in range(plan.steps - 1):
        watch.update(rows, values)
        active = (~reached if plan.early_stop else torch.ones_like(reached)).nonzero().flatten()
        if not len(active):
            break
        watch.step()
        trial = part.project(paint(best, part, active, plan.side(step, *best.shape[2:])))
        new, hit = problem.evaluate(trial[active], rows[active], margin)
        better = new > values[active]
        kept = active[better]
        best[kept], values[kept], reached[kept] = trial[kept], new[better], hit[better]
    watch.update(rows, values)
    return Attempt(best, values, reached)


def _stripes(part: AttackProblem) -> Tensor:
    """The clean images with vertical stripes of ±eps."""
    signs = torch.cat([_signs((1, 3, 1, part.clean.shape[3]), g) for g in part.generators])
    return part.clean + part.radii * signs.to(part.clean)


def _painted(best: Tensor, part: AttackProblem, active: Tensor, side: int) -> Tensor:
    """The images with one square each, which may reach out of the ball no further than eps."""
    painted = best.clone()
    for row in active.tolist():
        generator = part.generators[row]
        top, left = (random_integer(0, length - side, generator) for length in best.shape[2:])
        window = (row, slice(None), slice(top, top + side), slice(left, left + side))
        color = _signs((3, 1, 1), generator).to(best)
        painted[window] = part.clean[window] + part.radii[row] * color
    return painted


def _signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator, device="cpu") - 1


square = functional(Square)
