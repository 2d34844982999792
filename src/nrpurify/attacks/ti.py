"""The translation-invariant versions of FGSM, MI-FGSM and DIM (Dong et al., 2019).

The gradient is smoothed by a Gaussian before it is normalized and accumulated.
"""

from __future__ import annotations

from typing import ClassVar

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.registry import register_attack


@register_attack("fgsm-ti", source="Dong et al., 2019")
class FGSMTI(GradientAttack):
    """One step of length eps along the smoothed gradient.

    Attributes:
        smoothing: Odd side of the Gaussian filter of the gradient.
    """

    smoothing: int = 15


@register_attack("mi-fgsm-ti", source="Dong et al., 2019")
class MIFGSMTI(GradientAttack):
    """MI-FGSM with smoothed gradients.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        smoothing: Odd side of the Gaussian filter of the gradient.
    """

    steps: int = 10
    step_size: Eps | None = None
    momentum: float = 1.0
    smoothing: int = 15


@register_attack("dim-ti", source="Dong et al., 2019")
class DIMTI(GradientAttack):
    """DIM with smoothed gradients, the paper's strongest black-box attack (Table 1).

    ``authors``: the default of their code, with a probability of 0.4.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of a transformed input, for each image and step.
        smoothing: Odd side of the Gaussian filter of the gradient.
    """

    presets: ClassVar = {"authors": {"diversity": 0.4}}

    steps: int = 10
    step_size: Eps | None = None
    momentum: float = 1.0
    diversity: float = 0.7
    smoothing: int = 15


fgsm_ti = functional(FGSMTI)
mi_fgsm_ti = functional(MIFGSMTI)
dim_ti = functional(DIMTI)
