"""NES, gradients estimated from scores of noisy copies (Ilyas et al., 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.constraints import Eps, per_sample
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.restarts import Attempt, Watch, best_of
from nrpurify.attacks.step_size import StepSize
from nrpurify.core.errors import InputError


@register_attack("nes", source="Ilyas et al., 2018", needs="scores")
class NES(StepSize, Attack):
    """Gradient steps along an estimate by natural evolution strategies, with antithetic noise.

    The estimate is the mean of noise times the loss there, over pairs of noise and its negative.
    A step is ``samples`` + 1 queries. Step size, number of samples and deviation are the paper's
    for ImageNet.

    Attributes:
        steps: Number of steps.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target). False goes on to the greatest loss.
        step_size: Length of a step, one value or one an image; by default 0.01, in ℓ2
            2.5 eps / steps.
        samples: Even number of queries for one estimate.
        deviation: σ of the noise, in units of [0, 1] images.
    """

    steps: int = 200
    early_stop: bool = True
    step_size: Eps | None = None
    linf_step = 0.01
    samples: int = 50
    deviation: float = 0.001

    def __post_init__(self) -> None:
        """Check samples and deviation too."""
        super().__post_init__()
        if self.samples < 2 or self.samples % 2:
            raise InputError(f"samples is {self.samples}; expected an even number from 2 on")
        if not self.deviation > 0:
            raise InputError(f"deviation is {self.deviation}; expected more than 0")

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """The images of greatest loss on the way."""

        def attempt(rows: Tensor, watch: Watch) -> Attempt:
            return self.ascend(problem, problem.take(rows), rows, watch)

        return best_of(1, attempt, problem, Criterion.loss, early_stop=self.early_stop)

    def ascend(
        self, problem: AttackProblem, part: AttackProblem, rows: Tensor, watch: Watch
    ) -> Attempt:
        """Ascend once with M images, whose indices in the whole batch are ``rows``."""
        sizes = self.sizes(problem)[rows]
        point = part.clean.clamp(0, 1)
        values, reached = problem.evaluate(point, rows, Criterion.loss)
        best, best_values = point.clone(), values.clone()
        for _ in range(self.steps):
            watch.update(rows, values)
            active = (~reached if self.early_stop else torch.ones_like(reached)).nonzero().flatten()
            if not len(active):
                break
            watch.step()
            slopes = [self.estimate(problem, part, point, rows, row) for row in active.tolist()]
            moved = part.take(active).step(point[active], torch.stack(slopes), sizes[active])
            point[active] = moved
            new, hit = problem.evaluate(moved, rows[active], Criterion.loss)
            values[active], reached[active] = new, hit
            better = (
                hit | (new > best_values[active]) if self.early_stop else new > best_values[active]
            )
            kept = active[better]
            best[kept], best_values[kept] = moved[better], new[better]
        watch.update(rows, values)
        return Attempt(best, best_values, reached)

    def sizes(self, problem: AttackProblem) -> Tensor:
        """The step sizes N×1×1×1."""
        given = self.length(problem.radii, problem.norm)
        return per_sample(given, problem.clean, "step_size", problem.norm)

    def estimate(
        self, problem: AttackProblem, part: AttackProblem, point: Tensor, rows: Tensor, row: int
    ) -> Tensor:
        """The estimated gradient 3×H×W at the point of one image."""
        shape = (self.samples // 2, *point.shape[1:])
        noise = torch.randn(shape, generator=part.generators[row], device="cpu").to(point)
        noise = torch.cat([noise, -noise])
        images = (point[row] + self.deviation * noise).clamp(0, 1)
        losses, _ = problem.evaluate(images, rows[row].expand(self.samples), Criterion.loss)
        return (losses.view(-1, 1, 1, 1) * noise).mean(0) / self.deviation


nes = functional(NES)
