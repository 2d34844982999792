"""PGD, projected gradient descent from a random start (Madry et al., 2018)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp

PRESETS = {
    name: Plan(steps=10, step_size=2 / 255, start="uniform") for name in ("paper", "authors")
}
"""The authors' code, too, takes 10 steps of 2/255 (at eps 8/255) from a uniform start."""


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    start: str | None = None,
    targeted: bool | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Gradient steps from a random point of the box.

    For a targeted attack give ``targets``, for instance those of
    :func:`nrpurify.attacks.random_targets`.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image.
        start: ``uniform``, or another name in :data:`nrpurify.attacks.starts.STARTS`.
        targeted: Whether ``targets`` are expected; None for whether they are there.
        generator: Makes the start reproducible.

    Raises:
        InputError: A targeted attack without targets, or an untargeted one with some.
    """
    if targeted is not None and targeted != (targets is not None):
        given = "no targets were" if targets is None else "targets were"
        raise InputError(
            f"targeted is {targeted} and {given} given; expected targets, one class index an "
            "image, with a targeted attack and with no other: see random_targets"
        )
    return gradient_attack(
        model,
        images,
        labels,
        choose(PRESETS, preset, steps=steps, step_size=step_size, start=start),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
