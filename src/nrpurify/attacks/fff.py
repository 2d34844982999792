"""FFF, Fast Feature Fool: one perturbation for all images, without data (Mopuri et al., 2017)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.constraints import per_sample
from nrpurify.attacks.gradient import Callback, enable_attack_grad, outside_inference
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.trained import load_pattern
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32
from nrpurify.core.random import check_generator
from nrpurify.models.features import FeatureExtractor, features_of

VIEW = 224
"""Short side, in pixels, of the images that a pattern is made for."""
GRAY = 0.5
"""Value of the picture on which a pattern is made."""
CHECK_EVERY = 100
"""Steps between two looks at the saturation."""


BOUND = 10 / 255
STEPS = 10_000
STEP_SIZE = 0.1 / 255
SETTLED = 1e-3
"""How a pattern is made: the paper gives the steps and the network (appendix F), the rest is
Mopuri et al.'s."""


def fff_perturbation(
    extractor: FeatureExtractor,
    size: tuple[int, int],
    *,
    eps: float | None = BOUND,
    steps: int | None = STEPS,
    step_size: float | None = STEP_SIZE,
    settled: float | None = SETTLED,
    generator: Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Make the perturbation that excites a network most, from the network alone.

    Starts evenly within ±eps and lets Adam raise the logarithm of the product of the L2 norms of
    the features, here the mean over layers of their logarithms, on a gray picture.

    Args:
        extractor: With all layers that count; the paper takes VGG16's 13 activations.
        size: Height and width.
        eps: Budget during the making, in units of [0, 1] images.
        steps: Greatest number of steps.
        step_size: Learning rate of Adam, in units of [0, 1] images.
        settled: The making ends when, within 100 steps, the share of values at ±eps has grown by
            less than this; 0 for never.
        generator: Makes the start reproducible; a CPU generator.
        callback: Called after each step with its number from 1 and the objective before it, one
            value.

    Returns:
        3×H×W within ±``eps``, on the CPU.

    Raises:
        InputError: A number out of its range, or a generator that is not on the CPU.
    """
    check_generator(generator)
    bound = BOUND if eps is None else eps
    steps = STEPS if steps is None else steps
    step_size = STEP_SIZE if step_size is None else step_size
    settled = SETTLED if settled is None else settled
    for name, number in (("eps", bound), ("step_size", step_size)):
        per_sample(number, torch.zeros(1, device="cpu"), name)
    if min(steps, *size) < 1:
        raise InputError(f"steps is {steps} and size {size}; expected at least 1")
    start = torch.empty(1, 3, *size, device="cpu")
    start.uniform_(-bound, bound, generator=generator)
    with enable_attack_grad(None), frozen(outside_inference(extractor)), torch.enable_grad():
        pattern = outside_inference(start).to(next(extractor.parameters(), start).device)
        adam = torch.optim.Adam([pattern.requires_grad_(True)], lr=step_size)
        saturated = 0.0
        for step in range(1, steps + 1):
            value = excitation(extractor, GRAY + pattern)
            (gradient,) = torch.autograd.grad(value.sum(), pattern)
            pattern.grad = -gradient
            adam.step()
            with torch.no_grad():
                pattern.clamp_(-bound, bound)
            if callback is not None:
                callback(step, value.detach())
            if step % CHECK_EVERY == 0:
                before = saturated
                saturated = float((pattern.detach().abs() >= bound).float().mean())
                if settled and saturated - before < settled:
                    break
        made: Tensor = pattern.detach()[0].cpu()
        return made


def excitation(extractor: FeatureExtractor, images: Tensor) -> Tensor:
    """Mean over layers of the logarithm of the features' L2 norm, N values."""
    norms = [
        at_least_fp32(layer).flatten(1).norm(dim=1) for layer in features_of(extractor, images)
    ]
    return torch.stack([norm.clamp_min(1e-20).log() for norm in norms]).mean(0)


@register_attack("fff", source="Mopuri et al., 2017", needs="none")
class FFF(Attack):
    """Images plus one and the same pattern times eps, within [0, 1].

    ``model`` is a pattern 3×H×W in [-1, 1], that is a perturbation divided by the eps it was made
    with, see :func:`fff_perturbation`; None for the one that the package carries. See
    :func:`fitted` for images of another size than the pattern. Everything else is ignored.

    Raises:
        InputError: A pattern that cannot be used.
    """

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """Add the pattern."""
        clean = problem.clean
        pattern = load_pattern() if problem.model is None else _checked(problem.model)
        added = problem.radii * fitted(pattern.to(clean), *clean.shape[-2:])
        return problem.project(clean + added)


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


fff = functional(FFF)
