"""TAP, transferable adversarial perturbations (Zhou et al., 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.base import NOT_NEGATIVE, POSITIVE, functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.forward import Calls, FeatureHooks, Features
from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.precision import at_least_fp32, autocast


@register_attack("tap", source="Zhou et al., 2018", targeted=False)
class TAP(GradientAttack):
    """Away from the label and from the clean features, with a smooth perturbation δ.

    What grows is the cross entropy, plus ``feature_weight`` times the squared distance of the
    features at all layers, each taken to ``power`` with its sign, plus ``smooth_weight`` times the
    sum of absolute values of δ averaged over 3×3 pixels.

    The weights are Zhou et al.'s; the number of steps, which is given nowhere, is that of I-FGSM.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        features: Names of layers of the model, or a feature extractor of its own; by default all
            convolutions of the model.
        feature_weight: λ, of the distance of the features.
        power: Exponent, sign kept, that features get before they are compared.
        smooth_weight: η, of the smoothed perturbation.

    Raises:
        InputError: A layer that does not exist, or a model in which none can be looked up.
    """

    ranges: ClassVar = {
        "feature_weight": NOT_NEGATIVE,
        "power": POSITIVE,
        "smooth_weight": NOT_NEGATIVE,
    }

    steps: int = 10
    step_size: Eps | None = None
    features: Features | None = None
    feature_weight: float = 0.005
    power: float = 0.5
    smooth_weight: float = 0.01

    def objective(self, problem: AttackProblem) -> Objective:
        """Cross entropy, feature distance and smoothness."""
        hooks, clean, amp = (
            FeatureHooks.of(problem.model, self.features),
            problem.clean,
            problem.amp,
        )
        with torch.no_grad(), autocast(clean.device, amp):
            answers = [hooks(part) for part in _split(clean, hooks)]
            references = [[_powered(call, self.power) for call, _ in calls] for _, calls in answers]

        def objective(images: Tensor) -> Tensor:
            with autocast(images.device, amp):
                answers = [hooks(part) for part in _split(images, hooks)]
            logits = torch.cat([part for part, _ in answers])
            pairs = zip(answers, references, strict=True)
            moved = torch.cat(
                [_distance(calls, known, self.power, len(part)) for (part, calls), known in pairs]
            )
            smooth = F.avg_pool2d(images - clean, 3, stride=1, padding=1).abs().flatten(1).sum(1)
            return (
                problem.goal.loss(logits)
                + self.feature_weight / hooks.eot_samples * moved
                + self.smooth_weight * smooth
            )

        return objective


def _powered(x: Tensor, power: float) -> Tensor:
    """|x| to ``power`` with the sign of x; at zero, where it is infinite, no gradient."""
    x = at_least_fp32(x)
    return x.sign() * x.abs().clamp_min(1e-12).pow(power)


def _split(images: Tensor, hooks: FeatureHooks) -> tuple[Tensor, ...]:
    return torch.split(images, 1 if max(hooks.num_passes, default=1) > 1 else len(images))


def _distance(calls: Calls, references: list[Tensor], power: float, count: int) -> Tensor:
    """Squared distance, summed over calls and draws and as the mean of passes, N values."""
    parts = [
        (_powered(x, power) - known).square().reshape(count, -1).sum(1) / passes
        for (x, passes), known in zip(calls, references, strict=True)
    ]
    return torch.stack(parts).sum(0)


tap = functional(TAP)
