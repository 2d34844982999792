"""NI-FGSM and SI-NI-FGSM: looking ahead, and scaled copies (Lin et al., 2020)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.momentum import InputAttack, MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack


@register_attack("ni-fgsm", source="Lin et al., 2020", norms=("linf",))
class NIFGSM(MomentumAttack):
    """MI-FGSM with gradients taken where the momentum leads (Nesterov).

    One gradient a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients, and how far it looks ahead.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
    """

    look_ahead = True


@register_attack("si-ni-fgsm", source="Lin et al., 2020", norms=("linf",))
class SINIFGSM(InputAttack):
    """NI-FGSM along the mean gradient of darker copies: the image divided by 1, 2, 4, 8 and 16.

    ``copies`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients, and how far it looks ahead.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        copies: Number of scales.
    """

    look_ahead = True

    copies: int = 5

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The image divided by powers of two."""
        return [partial(_divided, 2**power) for power in range(self.copies)]


def _divided(divisor: int, image: Tensor) -> Tensor:
    return image / divisor


ni_fgsm = functional(NIFGSM)
si_ni_fgsm = functional(SINIFGSM)
