"""Square attack: random search that sees scores only (Andriushchenko et al., 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.margins import margin
from nrpurify.attacks.presets import choose
from nrpurify.attacks.restarts import Attempt, Watch, best_of, check_counts
from nrpurify.attacks.scene import Scene
from nrpurify.attacks.surrogate import Model, frozen
from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp
from nrpurify.core.random import random_integer

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which queries, of 10000, the squares' share of the image is halved."""


@dataclass(frozen=True)
class SquarePlan:
    """What the Square attack does besides its budget and its goal.

    Attributes:
        steps: Number of queries of an attempt.
        restarts: Number of attempts.
        early_stop: Whether an image is left alone as soon as the goal is reached.
        p_init: Share of the image that the first squares cover.

    Raises:
        InputError: A value outside its range.
    """

    steps: int = 5000
    restarts: int = 1
    early_stop: bool = True
    p_init: float = 0.8

    def __post_init__(self) -> None:
        check_counts(self.steps, self.restarts)
        if not 0 < self.p_init <= 1:
            raise InputError(f"p_init is {self.p_init}; expected a value in (0, 1]")

    def side(self, step: int, height: int, width: int) -> int:
        """Side in pixels of the square of the ``step``-th proposal, counting from 0."""
        at = step * 10000 // self.steps
        share = self.p_init / 2 ** sum(at > mark for mark in HALVINGS)
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)


PRESETS = {"paper": SquarePlan(), "authors": SquarePlan(steps=10000, p_init=0.05)}
"""``paper``: as in AutoAttack (Croce & Hein, 2020); ``authors``: their code's, for ImageNet."""


def square(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    restarts: int | None = None,
    p_init: float | None = None,
    early_stop: bool | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Paint squares of ±eps and keep those that raise the margin; no gradient is ever asked for.

    The first query is of vertical stripes of ±eps.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of queries of an attempt, besides one of the clean image.
        restarts: Number of attempts.
        p_init: Share of the image, in (0, 1], that the first squares cover.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target), which may be at once. False goes on to the greatest margin.
        generator: Makes stripes and squares reproducible.
        callback: Called before each query with the greatest margins so far; its steps are
            numbered through all attempts.
    """
    plan = choose(
        PRESETS, preset, steps=steps, restarts=restarts, p_init=p_init, early_stop=early_stop
    )
    with torch.no_grad(), frozen(model):
        scene = Scene.of(
            model, images, labels, margin, eps=eps, targets=targets, generator=generator, amp=amp
        )
        found = best_of(
            plan.restarts,
            lambda rows, watch: _search(scene.part(rows), rows, plan, watch),
            scene.clean,
            scene.judge,
            early_stop=plan.early_stop,
            callback=callback,
        )
        return scene.box.cast(found, images.dtype)


def _search(scene: Scene, rows: Tensor, plan: SquarePlan, watch: Watch) -> Attempt:
    box = scene.box
    watch.step()
    stripes = torch.cat([_signs((1, 3, 1, scene.clean.shape[3]), g) for g in scene.generators])
    best = box.project(scene.clean + scene.radii * stripes.to(scene.clean))
    values, reached = scene.judge(best, rows)
    for step in range(plan.steps - 1):
        watch.update(rows, values)
        active = (~reached if plan.early_stop else torch.ones_like(reached)).nonzero().flatten()
        if not len(active):
            break
        watch.step()
        trial = box.project(_painted(best, scene, active, plan.side(step, *best.shape[2:])))
        new, hit = scene.judge(trial[active], rows[active])
        better = new > values[active]
        kept = active[better]
        best[kept], values[kept], reached[kept] = trial[kept], new[better], hit[better]
    watch.update(rows, values)
    return Attempt(best, values, reached)


def _painted(best: Tensor, scene: Scene, active: Tensor, side: int) -> Tensor:
    """The images with one square each, which may reach out of the box no further than eps."""
    painted = best.clone()
    for row in active.tolist():
        generator = scene.generators[row]
        top, left = (random_integer(0, length - side, generator) for length in best.shape[2:])
        window = (row, slice(None), slice(top, top + side), slice(left, left + side))
        color = _signs((3, 1, 1), generator).to(best)
        painted[window] = scene.clean[window] + scene.radii[row] * color
    return painted


def _signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator, device="cpu") - 1
