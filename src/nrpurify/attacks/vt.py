"""VMI-FGSM and VNI-FGSM: variance tuning (Wang & He, 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.momentum import (
    Estimator,
    MomentumAttack,
    finite_gradient,
    mean_gradient,
    neighbor,
)
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack


@register_attack("vmi-fgsm", source="Wang & He, 2021", norms=("linf",))
class VMIFGSM(MomentumAttack):
    """MI-FGSM whose gradient is corrected by the mean gradient around the last image.

    To each gradient the last step's "variance" is added: the mean gradient of ``samples`` images
    around the last one, minus the gradient there. ``samples`` + 1 gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        samples: Number of images around each image.
        radius: How far around, in units of eps; they are clipped to [0, 1].
    """

    samples: int = 20
    radius: float = 1.5

    def estimator(self, problem: AttackProblem) -> Estimator:
        """The gradient plus the last step's variance."""
        objective = self.objective(problem)
        variance = torch.zeros_like(problem.clean)

        def estimate(images: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal variance
            values, gradient = finite_gradient(objective, point)
            tuned = gradient + variance
            _, around = mean_gradient(
                finite_gradient(objective, neighbor(problem, images, self.radius))
                for _ in range(self.samples)
            )
            variance = around - gradient
            return values, tuned

        return estimate


@register_attack("vni-fgsm", source="Wang & He, 2021", norms=("linf",))
class VNIFGSM(VMIFGSM):
    """VMI-FGSM with gradients taken where the momentum leads, as NI-FGSM.

    The images around lie around the image itself. ``samples`` + 1 gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients, and how far it looks ahead.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        samples: Number of images around each image.
        radius: How far around, in units of eps; they are clipped to [0, 1].
    """

    look_ahead = True


vmi_fgsm = functional(VMIFGSM)
vni_fgsm = functional(VNIFGSM)
