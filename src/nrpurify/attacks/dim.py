"""DIM, the diverse inputs method (Xie et al., 2019)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.gradient import gradient_attack
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.precision import Amp

PRESETS = {
    "paper": Plan(steps=10, momentum=1.0, diversity=0.7),
    "authors": Plan(steps=20, step_size=1 / 255, diversity=0.5),
}
"""``authors``: the published code. The paper gives steps, step and probability; that its DIM has
momentum is inferred from the strength it reports (Table 5)."""


def dim(
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
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """MI-FGSM on inputs that are resized and padded at random (appendix F).

    With probability ``diversity`` an image s is resized (nearest) to a random size in [s, 1.1 s)
    and zero-padded to 1.1 s (299 to 330); it is not resized back. Zero is black here, as in
    torchattacks; the published code pads zeros of [-1, 1], which are mid-gray.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of a transformed input, for each image and step.
        generator: Makes the draws reproducible.
    """
    return gradient_attack(
        model,
        images,
        labels,
        choose(
            PRESETS,
            preset,
            steps=steps,
            step_size=step_size,
            momentum=momentum,
            diversity=diversity,
        ),
        eps=eps,
        targets=targets,
        generator=generator,
        amp=amp,
        callback=callback,
    )
