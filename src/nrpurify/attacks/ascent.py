"""The one loop behind the iterative attacks: signed gradient ascent inside an L∞ box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nrpurify.attacks.box import Box, Eps, per_sample
from nrpurify.attacks.gradient_log import usable
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32

Objective = Callable[[Tensor], Tensor]
"""Maps N×3×H×W images to the N values that are to grow."""
Callback = Callable[[int, Tensor], None]
"""Called after each step with the step's number from 1 and the N values before the step."""


@torch.no_grad()
def ascend(
    images: Tensor,
    objective: Objective,
    *,
    eps: Eps,
    steps: int,
    step_size: Eps,
    start: Tensor | None = None,
    momentum: float = 0.0,
    smooth: Callable[[Tensor], Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Maximize ``objective`` by ``steps`` signed gradient steps (Algorithm 1, Eqs. 2 and 3).

    Args:
        images: N×3×H×W in [0, 1].
        objective: Differentiable; the sum of its values grows. Where each value depends on its own
            image only, as all but those of :func:`~nrpurify.attacks.fsa` do, so does the result.
        eps: L∞ budget in (0, 1], one value or N.
        steps: Number of gradient steps.
        step_size: Length of a step in (0, 1], one value or N.
        start: Where to begin (projected into the box); ``images`` when not given.
        momentum: Decay of accumulated gradients that are normalized by their L1 mean (MI-FGSM,
            Dong et al., 2018); 0 turns both off.
        smooth: Filter of the gradient before momentum (TI, Dong et al., 2019).
        callback: Watches the values.

    Returns:
        New images in the box, of the dtype given (half precision is worked on in fp32);
        ``images`` is left as it was.
    """
    clean = at_least_fp32(images)
    box = Box.around(clean, eps)
    size = per_sample(step_size, clean, "step_size")
    adversarial = box.project(clean if start is None else at_least_fp32(start))
    velocity = torch.zeros_like(adversarial)
    for step in range(1, steps + 1):
        values, gradient = value_and_gradient(objective, adversarial)
        gradient = usable(gradient)
        gradient = gradient if smooth is None else smooth(gradient)
        if momentum:
            velocity = momentum * velocity + _l1_normalized(gradient)
            gradient = velocity
        adversarial = box.project(adversarial + size * gradient.sign())
        if callback is not None:
            callback(step, values)
    return box.cast(adversarial, images.dtype)


def value_and_gradient(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    """The N values and the gradient of their sum; no gradient of any weight is touched.

    Inference mode is left for it; what the objective holds must have been made outside of it.

    Raises:
        InputError: The values do not depend on the images in a way that has a gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        point = images.clone() if images.is_inference() else images.detach()
        point.requires_grad_(True)
        values = objective(point)
        if not values.requires_grad:
            raise InputError(
                "the model's answer has no gradient, a vote has none; expected one to follow: "
                "attack what it is a vote of, or use square, which needs none"
            )
        (gradient,) = torch.autograd.grad(values.sum(), point)
    return values.detach(), gradient


def _l1_normalized(gradient: Tensor) -> Tensor:
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    # the sum of finite values may overflow to infinity, which would divide all of them to zero
    return gradient / size.clamp(1e-20, torch.finfo(size.dtype).max)
