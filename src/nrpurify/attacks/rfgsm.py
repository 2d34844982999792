"""R-FGSM, FGSM behind a random step (Tramèr et al., 2018)."""

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
    "paper": Plan(start="sign", start_share=1 / 3),
    "authors": Plan(start="sign", start_share=1 / 6),
}
"""``paper``: a random step of eps / 3. ``authors``: of 0.05 where eps is 0.3, their code's default.
The gradient step has what is left of eps."""


def r_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    start_share: float | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """A step in a random direction, then a gradient step with what is left of eps (appendix F).

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        start_share: Share of eps, in (0, 1), that the random step takes.
        generator: Makes the random step reproducible.
    """
    plan = choose(PRESETS, preset, start_share=start_share)
    if not 0 < plan.start_share < 1:
        raise InputError(f"start_share is {plan.start_share}; expected a value between 0 and 1")
    return gradient_attack(
        model,
        images,
        labels,
        plan,
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
