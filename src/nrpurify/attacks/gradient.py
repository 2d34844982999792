"""The loop of the iterative attacks: gradient ascent inside a ball, by sign steps in ℓ∞."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.constraints import Eps, ball_around, norms, per_sample
from nrpurify.attacks.gradient_log import counting, usable
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32

Objective = Callable[[Tensor], Tensor]
"""Maps N×3×H×W images to the N values that are to grow."""
Callback = Callable[[int, Tensor], None]
"""Called after each step with the step's number from 1 and the N values before the step."""

NO_GRADIENT = (
    "the model's answer has no gradient, a vote has none; expected one to follow: attack what it "
    "is a vote of, or use square, which needs none"
)


@contextmanager
def enable_attack_grad(images: object) -> Iterator[None]:
    """Follow gradients also inside ``torch.inference_mode()``, and count those that lead nowhere.

    Inference mode is left while the block runs; see :mod:`nrpurify.attacks.gradient_log` for the
    counts. Tensors that were made in it go through :func:`outside_inference`.

    Args:
        images: The N×3×H×W images under attack.
    """
    inside = torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if inside else nullcontext(), counting(images):
        yield


def outside_inference(value: Any) -> Any:
    """A tensor made in inference mode is copied; anything else is returned as it is.

    Raises:
        InputError: Weights of a module were made in it, which never get a gradient.
    """
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, nn.Module):
        state = [*value.parameters(), *value.buffers()]
        if any(tensor.is_inference() for tensor in state):
            raise InputError(
                f"the weights of the {type(value).__name__} were made inside "
                "torch.inference_mode(), so no gradient leads through it; make or load the model "
                "outside of that mode"
            )
    return value


@torch.no_grad()
def sign_gradient_ascent(
    images: Tensor,
    objective: Objective,
    *,
    eps: Eps,
    steps: int,
    step_size: Eps,
    norm: str = "linf",
    start: Tensor | None = None,
    momentum: float = 0.0,
    smooth: Callable[[Tensor], Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Maximize ``objective`` by ``steps`` gradient steps (Algorithm 1, Eqs. 2 and 3).

    A step has the direction of the gradient's sign, in ℓ2 of the gradient itself.

    Args:
        images: N×3×H×W in [0, 1].
        objective: Differentiable; the sum of its values grows. Where each value depends on its own
            image only, as all but those of :func:`~nrpurify.attacks.fsa` do, so does the result.
        eps: Budget, in (0, 1] for ℓ∞; one value or N.
        steps: Number of gradient steps.
        step_size: Length of a step, in (0, 1] for ℓ∞; one value or N.
        norm: ``linf`` or ``l2``, of budget and step.
        start: Where to begin (projected into the ball); ``images`` when not given.
        momentum: Decay of accumulated gradients that are normalized by their L1 mean (MI-FGSM,
            Dong et al., 2018); 0 turns both off.
        smooth: Filter of the gradient before momentum (TI, Dong et al., 2019).
        callback: Watches the values.

    Returns:
        New images in the ball, of the dtype given (half precision is worked on in fp32);
        ``images`` is left as it was.
    """
    clean = at_least_fp32(images)
    ball = ball_around(clean, eps, norm)
    size = per_sample(step_size, clean, "step_size", norm)
    adversarial = ball.project(clean if start is None else at_least_fp32(start))
    velocity = torch.zeros_like(adversarial)
    for step in range(1, steps + 1):
        values, gradient = value_and_gradient(objective, adversarial)
        gradient = usable(gradient)
        gradient = gradient if smooth is None else smooth(gradient)
        if momentum:
            # normalized, so that steps of small and large gradients weigh the same
            velocity.mul_(momentum).add_(l1_normalized(gradient))
            gradient = velocity
        adversarial = ball.project(torch.addcmul(adversarial, size, ball.direction(gradient)))
        if callback is not None:
            callback(step, values)
    return ball.cast(adversarial, images.dtype)


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
        gradient = None
        if values.requires_grad:  # of the images, or of weights alone
            (gradient,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
    if gradient is None:
        raise InputError(NO_GRADIENT)
    return values.detach(), gradient


def l1_normalized(gradient: Tensor) -> Tensor:
    """Each image's gradient, divided by the mean of its absolute values (MI-FGSM)."""
    size = norms(gradient, 1).view(-1, 1, 1, 1) / gradient[0].numel()
    # the sum of finite values may overflow to infinity, which would divide all of them to zero
    return gradient / size.clamp(1e-20, torch.finfo(size.dtype).max)
