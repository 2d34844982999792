"""PGN, penalizing the gradient's norm (Ge et al., 2023)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.gradient import l1_normalized
from nrpurify.attacks.momentum import (
    Estimator,
    MomentumAttack,
    finite_gradient,
    mean_gradient,
    neighbor,
)
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError


@register_attack("pgn", source="Ge et al., 2023", norms=("linf",))
class PGN(MomentumAttack):
    """MI-FGSM toward flat maxima of the loss.

    The gradient is the mean over ``samples`` images around: of each, the gradient there, mixed with
    the one a step down from there, which stands for the penalty of the gradient's norm.
    2 · ``samples`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        samples: Number of images around each image.
        radius: How far around, in units of eps; they are clipped to [0, 1].
        balance: δ in [0, 1]: share of the gradient a step down.
    """

    samples: int = 20
    radius: float = 3.0
    balance: float = 0.5

    def __post_init__(self) -> None:
        """Check the balance too."""
        super().__post_init__()
        if not 0 <= self.balance <= 1:
            raise InputError(f"balance is {self.balance}; expected a value in [0, 1]")

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The mixed gradients around."""
        objective, size = self.objective(problem), self.size(problem)

        def around(images: Tensor) -> tuple[Tensor, Tensor]:
            near = neighbor(problem, images, self.radius)
            values, first = finite_gradient(objective, near)
            down = (near - size * l1_normalized(first)).clamp(0, 1)
            _, second = finite_gradient(objective, down)
            return values, (1 - self.balance) * first + self.balance * second

        return lambda images, point: mean_gradient(around(images) for _ in range(self.samples))


pgn = functional(PGN)
