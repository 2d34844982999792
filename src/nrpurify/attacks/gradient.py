"""What all gradient attacks on classifiers share: one ascent of the cross entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from nrpurify.attacks.ascent import Callback, Objective, ascend
from nrpurify.attacks.box import Eps, per_sample
from nrpurify.attacks.draws import Source, per_image, start_each
from nrpurify.attacks.goal import Goal, given_goal
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.logits import Transform, cross_entropy, predict
from nrpurify.attacks.presets import Plan
from nrpurify.attacks.surrogate import Model, frozen
from nrpurify.attacks.transforms import diverse_input, gaussian_kernel, smoother
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32

GROWTH = 330 / 299
"""How far input diversity enlarges images: to 330 pixels from Inception's 299, as published."""


@with_gradients
def gradient_attack(
    model: Model,
    images: Tensor,
    labels: Tensor | None,
    plan: Plan,
    *,
    eps: Eps,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Ascend the cross entropy of a classifier by ``plan``; each attack's function calls this.

    Args:
        model: A classifier from N×3×H×W images in [0, 1] to N×classes logits: a module, an
            :class:`~nrpurify.attacks.Ensemble`, an :class:`~nrpurify.attacks.EOT`, or a function.
            It runs in eval mode; its modes and ``requires_grad`` are restored afterwards.
        images: N×3×H×W in [0, 1], of any float type; left as they are.
        labels: N class indices from 0, from which the attack leads away; None for what the model
            itself says of ``images``, which avoids label leaking (Kurakin et al., 2017).
        plan: What to do.
        eps: L∞ budget in (0, 1], one value or one an image.
        targets: N class indices from 0 toward which it leads, in place of ``labels``.
        generator: Makes what is random reproducible: one on the CPU for all, or one an image.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``. The images of one call go through the
            network together, and kernels round by their number; see
            ``nrpurify.evaluation.attack_runner`` for results that do not depend on it.
        callback: Called after each step with its number from 1 and the N losses before it
            (minus the loss when targeted).

    Returns:
        Adversarial images of the same shape and dtype, within ``eps`` and [0, 1].

    Raises:
        InputError: Images, eps, labels, targets or a model's answer that cannot be used.
    """
    check_images(images)
    clean = at_least_fp32(images.detach())
    radii = per_sample(eps, clean).flatten()
    goal = given_goal(clean, labels, targets)
    random = bool(plan.diversity) or plan.start != "clean"
    generators = per_image(generator, len(clean)) if random else []
    with frozen(model):
        return ascend(
            images.detach(),
            _objective(model, clean, goal, plan, generators, amp),
            eps=eps,
            steps=plan.steps,
            step_size=plan.length(radii),
            start=start_each(plan.start, clean, plan.start_share * radii, generators)
            if random
            else None,
            momentum=plan.momentum,
            smooth=smoother(gaussian_kernel(plan.smoothing)) if plan.smoothing else None,
            callback=callback,
        )


def _objective(
    model: Model,
    clean: Tensor,
    goal: Goal | None,
    plan: Plan,
    generators: Sequence[Generator],
    amp: Amp,
) -> Objective:
    goal = goal or Goal(predict(model, clean, amp), +1)

    def diversity() -> list[Transform]:
        shape = torch.Size((1, *clean.shape[1:]))
        return [diverse_input(shape, plan.diversity, g, growth=GROWTH) for g in generators]

    return cross_entropy(model, goal, diversity if plan.diversity else None, amp)
