"""FGSM, the fast gradient sign method (Goodfellow et al., 2015)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

PRESETS = {"paper": Plan(), "authors": Plan()}


def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """One gradient step of length eps (appendix F).

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        generator: Not used: nothing is random here.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(PRESETS, preset),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
