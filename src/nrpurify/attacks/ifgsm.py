"""I-FGSM, the iterative FGSM (Kurakin et al., 2017)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

PRESETS = {"paper": Plan(steps=10), "authors": Plan(steps=20, step_size=1 / 255)}
"""``paper``: 10 steps of 1.6/255 at eps 16/255. ``authors``: 20 of 1/255, meant for that eps."""


def i_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Several small gradient steps from the image itself (appendix F).

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        generator: Not used: nothing is random here.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(PRESETS, preset, steps=steps, step_size=step_size),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
