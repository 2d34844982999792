"""FFF, Fast Feature Fool: one perturbation for all images, without data (Mopuri et al., 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Box, Eps, per_sample
from nrpurify.attacks.draws import Source
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.presets import choose
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.trained import load_pattern
from nrpurify.core.errors import InputError
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32
from nrpurify.models.features import FeatureExtractor, features_of

VIEW = 224
"""Short side, in pixels, of the images that a pattern is made for."""
GRAY = 0.5
"""Value of the picture on which a pattern is made."""
CHECK_EVERY = 100
"""Steps between two looks at the saturation."""


@dataclass(frozen=True)
class FffSettings:
    """How a pattern is made; at its use there is nothing to set but eps.

    Attributes:
        bound: Budget during the making, in units of [0, 1] images.
        steps: Greatest number of steps.
        step_size: Learning rate of Adam, in units of [0, 1] images.
        settled: The making ends when, within 100 steps, the share of values at ±bound has grown by
            less than this; 0 for never.
    """

    bound: float = 10 / 255
    steps: int = 10_000
    step_size: float = 0.1 / 255
    settled: float = 1e-3


PRESETS = {name: FffSettings() for name in ("paper", "authors")}
"""The paper tells the steps and the network (appendix F), the rest is Mopuri et al.'s."""


@with_gradients
def fff_perturbation(
    extractor: FeatureExtractor,
    size: tuple[int, int],
    *,
    eps: float | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    settled: float | None = None,
    generator: Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Make the perturbation that excites a network most, from the network alone.

    Starts evenly within ±eps and lets Adam raise the logarithm of the product of the L2 norms of
    the features, here the mean over layers of their logarithms, on a gray picture.

    Args:
        extractor: With all layers that count; the paper takes VGG16's 13 activations.
        size: Height and width.
        eps: The ``bound`` of :class:`FffSettings`, where the next three are told too.
        steps: Greatest number of steps.
        step_size: Learning rate.
        settled: When to end before.
        generator: Makes the start reproducible; a CPU generator.
        callback: Called after each step with its number from 1 and the objective before it, one
            value.

    Returns:
        3×H×W within ±``eps``, on the CPU.

    Raises:
        InputError: A number out of its range.
    """
    plan = choose(PRESETS, "paper", bound=eps, steps=steps, step_size=step_size, settled=settled)
    _check(plan, size)
    start = torch.empty(1, 3, *size, device="cpu")
    start.uniform_(-plan.bound, plan.bound, generator=generator)
    with frozen(extractor), torch.enable_grad():
        device = next(extractor.parameters(), start).device
        return _excite(extractor, start.to(device), plan, callback)[0].cpu()


def _check(plan: FffSettings, size: tuple[int, int]) -> None:
    for name, value in (("eps", plan.bound), ("step_size", plan.step_size)):
        per_sample(value, torch.zeros(1, device="cpu"), name)
    if min(plan.steps, *size) < 1:
        raise InputError(f"steps is {plan.steps} and size {size}; expected at least 1")


def _excite(
    extractor: FeatureExtractor, start: Tensor, plan: FffSettings, callback: Callback | None
) -> Tensor:
    pattern = start.requires_grad_(True)
    adam = torch.optim.Adam([pattern], lr=plan.step_size)
    saturated = 0.0
    for step in range(1, plan.steps + 1):
        value = excitation(extractor, GRAY + pattern)
        (gradient,) = torch.autograd.grad(value.sum(), pattern)
        pattern.grad = -gradient
        adam.step()
        with torch.no_grad():
            pattern.clamp_(-plan.bound, plan.bound)
        if callback is not None:
            callback(step, value.detach())
        if step % CHECK_EVERY == 0:
            before, saturated = (
                saturated,
                float((pattern.detach().abs() >= plan.bound).float().mean()),
            )
            if plan.settled and saturated - before < plan.settled:
                break
    return pattern.detach()


def excitation(extractor: FeatureExtractor, images: Tensor) -> Tensor:
    """Mean over layers of the logarithm of the features' L2 norm, N values."""
    norms = [
        at_least_fp32(layer).flatten(1).norm(dim=1) for layer in features_of(extractor, images)
    ]
    return torch.stack([norm.clamp_min(1e-20).log() for norm in norms]).mean(0)


@torch.no_grad()
def fff(
    model: Tensor | None,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Images plus one and the same pattern times eps, within [0, 1].

    See :func:`fitted` for images of another size than the pattern.

    Args:
        model: A pattern 3×H×W in [-1, 1], that is a perturbation divided by the eps it was made
            with; None for the one that the package carries.
        images: N×3×H×W in [0, 1], of any float type and size.
        labels: Ignored, as are ``generator``, ``amp`` and ``callback``: present so that all
            attacks are called alike.
        eps: L∞ budget in (0, 1], one value or one an image.
        preset: ``paper`` or ``authors``, which agree.
        generator: Ignored.
        amp: Ignored.
        callback: Ignored.

    Returns:
        Adversarial images of the same shape and dtype, within ``eps`` and [0, 1].

    Raises:
        InputError: Images, eps or a pattern that cannot be used.
    """
    choose(PRESETS, preset)
    check_images(images)
    clean = at_least_fp32(images.detach())
    box = Box.around(clean, eps)
    pattern = load_pattern() if model is None else _checked(model)
    added = per_sample(eps, clean) * fitted(pattern.to(clean), *clean.shape[-2:])
    return box.cast(box.project(clean + added), images.dtype)


def _checked(pattern: object) -> Tensor:
    if not isinstance(pattern, Tensor):
        raise InputError(f"a {type(pattern).__name__} was given; expected a pattern, or None")
    if pattern.ndim != 3 or len(pattern) != 3 or not bool((pattern.abs() <= 1).all()):
        raise InputError(
            f"a pattern of shape {tuple(pattern.shape)} was given; expected 3×H×W in [-1, 1]: "
            "divide a perturbation by its eps"
        )
    return pattern


def fitted(pattern: Tensor, height: int, width: int) -> Tensor:
    """A pattern C×h×w as C×height×width: enlarged with the image, then tiled.

    Victims shrink an image whose short side is above 224 pixels to about that; enlarged (nearest)
    by the same factor the pattern reaches them at the scale at which it was made.
    """
    factor = max(1.0, min(height, width) / VIEW)
    rows, columns = (round(side * factor) for side in pattern.shape[-2:])
    grown = F.interpolate(pattern[None], (rows, columns))[0]
    tiled = grown.repeat(1, math.ceil(height / rows), math.ceil(width / columns))
    return tiled[:, :height, :width]
