"""FSA, feature scattering (Zhang & Wang, 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrpurify.attacks.ascent import Callback, Objective, ascend
from nrpurify.attacks.box import Eps, per_sample
from nrpurify.attacks.draws import Source, per_image, start_each
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.logits import ask, together
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model, frozen
from nrpurify.attacks.transport import cosine_cost, sinkhorn
from nrpurify.core.errors import InputError
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32


@dataclass(frozen=True)
class FsaPlan(Plan):
    """A plan with the blur of the transport.

    Attributes:
        regularization: Weight of the entropy, see :func:`nrpurify.attacks.transport.sinkhorn`.
    """

    regularization: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.regularization > 0:
            raise InputError(f"regularization is {self.regularization}; expected more than 0")


PRESETS = {
    "paper": FsaPlan(steps=10, start="uniform"),
    "authors": FsaPlan(steps=1, start="uniform"),
}
"""``authors``: the one step of eps that they train with. The paper does not tell its number of
steps; it is that of the other iterative attacks."""


@with_gradients
def fsa(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    regularization: float | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Move the logits of a batch away from its clean ones, as a whole (appendix C).

    What grows is the optimal-transport distance between the two sets of logits, with one minus
    the cosine as the cost. So an image's result depends on the batch it is in; a batch of one
    has the plain cosine distance. The mean of an :class:`~nrpurify.attacks.EOT`'s logits counts.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        labels: Ignored: none are needed. Present so that all attacks are called alike.
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        regularization: Above 0; the smaller, the nearer to the exact transport.
        generator: Makes the start reproducible.
        callback: Sees N times the cost of what is moved to each image.
    """
    check_images(images)
    plan = choose(PRESETS, preset, steps=steps, step_size=step_size, regularization=regularization)
    clean = at_least_fp32(images.detach())
    radii = per_sample(eps, clean)
    generators = per_image(generator, len(clean))
    with frozen(model):
        return ascend(
            images.detach(),
            _objective(model, clean, plan.regularization, amp),
            eps=eps,
            steps=plan.steps,
            step_size=plan.length(radii),
            start=start_each(plan.start, clean, radii, generators),
            callback=callback,
        )


def _objective(model: Model, clean: Tensor, regularization: float, amp: Amp) -> Objective:
    def logits(images: Tensor) -> Tensor:
        return together(lambda part: ask(model, part), images, amp).mean(1)

    with torch.no_grad():
        reference = logits(clean)

    def objective(images: Tensor) -> Tensor:
        cost = cosine_cost(reference, logits(images))
        return len(images) * (sinkhorn(cost, regularization) * cost).sum(0)

    return objective
