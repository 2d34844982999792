"""MI-FGSM, the momentum iterative FGSM (Dong et al., 2018)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

PRESETS = {name: Plan(steps=10, momentum=1.0) for name in ("paper", "authors")}
"""The authors' code, too, takes 10 steps of eps / 10 with decay 1."""


def mi_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    momentum: float | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Gradient steps along the accumulated gradient (appendix F).

    Each gradient is divided by its L1 mean before it is added to ``momentum`` times the sum so far.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        generator: Not used: nothing is random here.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(PRESETS, preset, steps=steps, step_size=step_size, momentum=momentum),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
