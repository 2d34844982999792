"""TAP, transferable adversarial perturbations (Zhou et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.ascent import Callback, Objective, ascend
from nrpurify.attacks.box import Eps, per_sample
from nrpurify.attacks.draws import Source
from nrpurify.attacks.goal import Goal, given_goal
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.logits import predict
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.probe import Calls, Features, Probe
from nrpurify.attacks.surrogate import Model, frozen
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32, autocast


@dataclass(frozen=True)
class TapPlan(Plan):
    """A plan with the weights of TAP's loss.

    Attributes:
        feature_weight: λ, of the distance of the features.
        power: Exponent, sign kept, that features get before they are compared.
        smooth_weight: η, of the smoothed perturbation.
    """

    feature_weight: float = 0.005
    power: float = 0.5
    smooth_weight: float = 0.01


PRESETS = {name: TapPlan(steps=10) for name in ("paper", "authors")}
"""The weights are Zhou et al.'s; the number of steps, which is given nowhere, is that of I-FGSM."""


@with_gradients
def tap(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    features: Features | None = None,
    feature_weight: float | None = None,
    power: float | None = None,
    smooth_weight: float | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Away from the label and from the clean features, with a smooth perturbation δ.

    What grows is the cross entropy, plus ``feature_weight`` times the squared distance of the
    features at all layers, each taken to ``power`` with its sign, plus ``smooth_weight`` times the
    sum of absolute values of δ averaged over 3×3 pixels.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        features: Names of layers of ``model``, or a feature extractor of its own; by default all
            convolutions of ``model``.
        feature_weight: λ.
        power: Exponent of the features.
        smooth_weight: η.
        generator: Not used: nothing is random here.

    Raises:
        InputError: A layer that does not exist, or a model in which none can be looked up.
    """
    check_images(images)
    plan = choose(
        PRESETS,
        preset,
        steps=steps,
        step_size=step_size,
        feature_weight=feature_weight,
        power=power,
        smooth_weight=smooth_weight,
    )
    clean = at_least_fp32(images.detach())
    goal = given_goal(clean, labels, None)
    with frozen(model, features):
        goal = goal or Goal(predict(model, clean, amp), +1)
        return ascend(
            images.detach(),
            _objective(Probe.of(model, features), clean, goal, plan, amp),
            eps=eps,
            steps=plan.steps,
            step_size=plan.length(per_sample(eps, clean)),
            callback=callback,
        )


def _powered(x: Tensor, power: float) -> Tensor:
    """|x| to ``power`` with the sign of x; at zero, where it is infinite, no gradient."""
    x = at_least_fp32(x)
    return x.sign() * x.abs().clamp_min(1e-12).pow(power)


def _objective(probe: Probe, clean: Tensor, goal: Goal, plan: TapPlan, amp: Amp) -> Objective:
    with torch.no_grad(), autocast(clean.device, amp):
        answers = [probe(part) for part in _split(clean, probe)]
        references = [[_powered(call, plan.power) for call, _ in calls] for _, calls in answers]

    def objective(images: Tensor) -> Tensor:
        with autocast(images.device, amp):
            answers = [probe(part) for part in _split(images, probe)]
        logits = torch.cat([part for part, _ in answers])
        pairs = zip(answers, references, strict=True)
        moved = torch.cat(
            [_distance(calls, known, plan.power, len(part)) for (part, calls), known in pairs]
        )
        smooth = F.avg_pool2d(images - clean, 3, stride=1, padding=1).abs().flatten(1).sum(1)
        return (
            goal.loss(logits)
            + plan.feature_weight / probe.draws * moved
            + plan.smooth_weight * smooth
        )

    return objective


def _split(images: Tensor, probe: Probe) -> tuple[Tensor, ...]:
    return torch.split(images, 1 if max(probe.passes, default=1) > 1 else len(images))


def _distance(calls: Calls, references: list[Tensor], power: float, count: int) -> Tensor:
    """Squared distance, summed over calls and draws and in the mean of passes, N values."""
    parts = [
        (_powered(x, power) - known).square().reshape(count, -1).sum(1) / passes
        for (x, passes), known in zip(calls, references, strict=True)
    ]
    return torch.stack(parts).sum(0)
