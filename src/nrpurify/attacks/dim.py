"""DIM, the diverse inputs method (Xie et al., 2019)."""

from __future__ import annotations

from typing import ClassVar

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.registry import register_attack


@register_attack("dim", source="Xie et al., 2019")
class DIM(GradientAttack):
    """MI-FGSM on inputs that are resized and padded at random (appendix F).

    With probability ``diversity`` an image s is resized (nearest) to a random size in [s, 1.1 s)
    and zero-padded to 1.1 s (299 to 330); it is not resized back. Zero is black here, as in
    torchattacks; the published code pads zeros of [-1, 1], which are mid-gray.

    ``authors``: the published code. The paper gives steps, step and probability; that its DIM has
    momentum is inferred from the strength it reports (Table 5).

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        linf_step: The default in ℓ∞; with one, ℓ2 takes 2.5 eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of a transformed input, for each image and step.
    """

    presets: ClassVar = {
        "authors": {"steps": 20, "linf_step": 1 / 255, "momentum": 0.0, "diversity": 0.5},
    }

    steps: int = 10
    step_size: Eps | None = None
    linf_step: float | None = None
    momentum: float = 1.0
    diversity: float = 0.7


dim = functional(DIM)
