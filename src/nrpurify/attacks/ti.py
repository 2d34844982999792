"""The translation-invariant versions of FGSM, MI-FGSM and DIM (Dong et al., 2019).

The gradient is smoothed by a Gaussian before it is normalized and accumulated.
"""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

FGSM_TI = {name: Plan(smoothing=15) for name in ("paper", "authors")}
MI_FGSM_TI = {name: Plan(steps=10, momentum=1.0, smoothing=15) for name in ("paper", "authors")}
DIM_TI = {
    "paper": Plan(steps=10, momentum=1.0, diversity=0.7, smoothing=15),
    "authors": Plan(steps=10, momentum=1.0, diversity=0.4, smoothing=15),
}
"""``authors``: the default of their code, with a probability of 0.4."""


def fgsm_ti(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    smoothing: int | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """One step of length eps along the smoothed gradient.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        smoothing: Odd side of the Gaussian filter of the gradient.
        generator: Not used: nothing is random here.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(FGSM_TI, preset, smoothing=smoothing),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )


def mi_fgsm_ti(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    momentum: float | None = None,
    smoothing: int | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """MI-FGSM with smoothed gradients.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        smoothing: Odd side of the Gaussian filter of the gradient.
        generator: Not used: nothing is random here.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(
            MI_FGSM_TI,
            preset,
            steps=steps,
            step_size=step_size,
            momentum=momentum,
            smoothing=smoothing,
        ),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )


def dim_ti(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: Eps | None = None,
    momentum: float | None = None,
    diversity: float | None = None,
    smoothing: int | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """DIM with smoothed gradients, the paper's strongest black-box attack (Table 1).

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of a transformed input, for each image and step.
        smoothing: Odd side of the Gaussian filter of the gradient.
        generator: Makes the draws reproducible.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(
            DIM_TI,
            preset,
            steps=steps,
            step_size=step_size,
            momentum=momentum,
            diversity=diversity,
            smoothing=smoothing,
        ),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
