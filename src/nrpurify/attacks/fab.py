"""FAB, the fast adaptive boundary attack, toward one class after the other (Croce & Hein, 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.apgdt import escapes
from nrpurify.attacks.base import COUNT, Attack, functional
from nrpurify.attacks.losses import lead, margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of


@register_attack("fab-t", source="Croce & Hein, 2020", targeted=False)
class FABT(Attack):
    """Steps to the linearized border between the label and each of the most likely classes.

    A step goes to a mixture of the projections of the present point and of the clean image on the
    border, a little beyond it. FAB looks for the smallest change; an image is left alone as soon as
    it is misclassified within eps. Its callback sees the leads of the target over the label.

    ``paper`` and ``authors``: as in AutoAttack.

    Attributes:
        steps: Number of steps an attempt.
        restarts: Number of attempts a class; all but the first start at a random point.
        classes: How many classes it leads toward; a model with fewer has all others tried.
        alpha_max: Greatest share, in [0, 1], of the clean image's projection in a step.
        eta: Length of a step in units of the distance to the border, at least 1.
        beta: Share, in (0, 1), of the change that is kept after a misclassification.
    """

    ranges: ClassVar = {
        "classes": COUNT,
        "alpha_max": (lambda value: 0 <= value <= 1, "a value in [0, 1]"),
        "eta": (lambda value: value >= 1, "at least 1"),
        "beta": (lambda value: 0 < value < 1, "a value in (0, 1)"),
    }

    steps: int = 100
    restarts: int = 1
    classes: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def perturb(self, problem: AttackProblem) -> Tensor:
        """The best of the attempts."""
        toward = escapes(problem, self.classes)
        attempts = 0

        def attempt(rows: Tensor, watch: Watch) -> Attempt:
            nonlocal attempts
            goal = toward[attempts % len(toward)]
            aim = replace(problem, criterion=goal, source=problem.generators)
            first = attempts < len(toward)
            attempts += 1
            part = aim.take(rows)
            start = part.clean if first else part.start("uniform", 0.5)
            found = self.approach(aim, part, start, rows, watch)
            values, reached = problem.evaluate(found, rows, margin)
            return Attempt(found, values, reached)

        count = self.restarts * len(toward)
        return best_of(count, attempt, problem, margin, early_stop=True)

    @torch.no_grad()
    def approach(
        self, problem: AttackProblem, part: AttackProblem, start: Tensor, rows: Tensor, watch: Watch
    ) -> Tensor:
        """Step toward the border from ``start``.

        Args:
            problem: The whole batch, with an :class:`~nrpurify.attacks.losses.Escape`.
            part: The M images that are attacked.
            start: M×3×H×W.
            rows: Indices of the M images in the batch.
            watch: Gets each step.

        Returns:
            Misclassified images within eps where there are some, else the last ones, projected.
        """
        clean, point = part.clean.clamp(0, 1), start.clamp(0, 1)
        found, active = point.clone(), torch.arange(len(rows), device=rows.device)
        radii = part.radii.flatten()
        for _ in range(self.steps):
            if not len(active):
                break
            here, origin = point[active], clean[active]
            values, gradient, _ = problem.evaluate_gradient(here, rows[active], lead)
            watch.update(rows[active], values)
            watch.step()
            moved = self.mixture(here, origin, values, gradient, problem.norm)
            _, fooled = problem.evaluate(moved, rows[active], lead)
            change = moved - origin
            within = part.ball.size(change) <= radii[active]
            found[active] = moved
            kept = torch.where(fooled.view(-1, 1, 1, 1), origin + self.beta * change, moved)
            point[active] = kept
            active = active[~(fooled & within)]
        return part.project(found)

    def mixture(
        self, points: Tensor, clean: Tensor, values: Tensor, gradient: Tensor, norm: str
    ) -> Tensor:
        """The next points, M×3×H×W in [0, 1], from the border's values and gradient at ``points``.

        Args:
            points: M×3×H×W.
            clean: M×3×H×W.
            values: M leads of the target; the border is at 0.
            gradient: M×3×H×W, of the leads.
            norm: ``linf`` or ``l2``.
        """
        own = to_hyperplane(points, gradient, -values, norm)
        slope = (gradient * (clean - points)).flatten(1).sum(1)
        back = to_hyperplane(clean, gradient, -values - slope, norm)
        lengths = [_length(change, norm).clamp_min(1e-8) for change in (own, back)]
        share = (lengths[0] / (lengths[0] + lengths[1])).clamp_max(self.alpha_max)
        share = share.view(-1, 1, 1, 1)
        ahead, anew = points + self.eta * own, clean + self.eta * back
        return ((1 - share) * ahead + share * anew).clamp(0, 1)


def _length(change: Tensor, norm: str) -> Tensor:
    rows = change.flatten(1)
    length: Tensor = rows.norm(dim=1) if norm == "l2" else rows.abs().amax(1)
    return length


def to_hyperplane(points: Tensor, weights: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The shortest changes that raise a linear function by ``gap`` and stay within [0, 1].

    A change has ``|change_i| = min(t, room_i)`` in ℓ∞ and ``min(t |weights_i|, room_i)`` in ℓ2,
    where ``room_i`` is what [0, 1] leaves in the direction that helps. The function's rise is
    piecewise linear in t, so t is found by sorting the values at which a room is used up.

    Args:
        points: M×3×H×W in [0, 1].
        weights: M×3×H×W, of the function.
        gap: M rises, which may be negative.
        norm: ``linf`` or ``l2``.

    Returns:
        M×3×H×W changes; all the room there is where it does not suffice.
    """
    rise = gap.sign().view(-1, 1, 1, 1) * weights
    room = torch.where(rise > 0, 1 - points, points).flatten(1).double()
    size = rise.abs().flatten(1).double()
    rate = size.square() if norm == "l2" else size
    full = size * room
    ends, order = torch.where(rate > 0, full / rate.clamp_min(1e-300), 0).sort(1)
    rates, fulls = rate.gather(1, order), full.gather(1, order)
    used = fulls.cumsum(1)
    left = rates.sum(1, keepdim=True) - rates.cumsum(1)
    rises = used + ends * left
    wanted = gap.abs().double()[:, None]
    index = (rises < wanted).sum(1, keepdim=True).clamp_max(ends.shape[1] - 1)
    before = used.gather(1, index) - fulls.gather(1, index)
    slope = left.gather(1, index) + rates.gather(1, index)
    scale = (wanted - before) / slope.clamp_min(1e-300)
    scale = torch.minimum(scale, ends[:, -1:])
    reach = scale * size if norm == "l2" else scale * (size > 0)
    change = torch.minimum(reach, room).view(points.shape).to(points)
    return rise.sign() * change


fab_t = functional(FABT)
