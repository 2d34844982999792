"""How to certify, and what of it can be checked before any image is read."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from nrpurify.core.errors import InputError
from nrpurify.core.groups import GROUP
from nrpurify.core.precision import Amp
from nrpurify.purifiers import Card


@dataclass(frozen=True)
class CertifyPlan:
    """How to certify.

    Attributes:
        victim: A name for :func:`nrpurify.models.load_classifier`.
        purifier: A shipped name or a file; None for the classifier alone.
        sigma: Standard deviation of the noise, in units of [0, 1] images.
        n0: Samples that choose the class.
        n: Samples that certify it; none is among the ``n0``.
        alpha: Probability of a wrong certificate, in (0, 1).
        size: Side of the images in pixels: short side resized, center cropped. Radii are of images
            of this size.
        group: Noisy images that the networks see together.
        seed: Of the noise.
        device: Where to work.
        amp: bf16 autocast of purifier and classifier. The certificate is of the classifier as it
            was computed.

    Raises:
        InputError: A number out of its range.
    """

    victim: str = "efficientnet_lite0"
    purifier: str | None = "fast"
    sigma: float = 0.25
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    size: int = 224
    group: int = 4 * GROUP
    seed: int = 0
    device: str = "cpu"
    amp: Amp = "auto"

    def __post_init__(self) -> None:
        for name in ("n0", "n", "size", "group"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha is {self.alpha}; expected a number between 0 and 1")
        if not 0 < self.sigma < math.inf:
            raise InputError(f"sigma is {self.sigma}; expected a number above 0, such as 0.25")


def noise_sigmas(card: Card) -> list[float]:
    """Standard deviations of the noise that a purifier was trained against.

    Args:
        card: The purifier's; of one with other adversaries too, or none, the list is empty.
    """
    adversaries = (card.training.get("recipe") or {}).get("adversaries") or []
    if any(one.get("kind") != "noise" for one in adversaries):
        return []
    return sorted({float(one["std"]) for one in adversaries})


def warn_of_sigma(card: Card, sigma: float) -> None:
    """Warn the caller's caller of a purifier that was trained against noise of another sigma."""
    known = noise_sigmas(card)
    if known and sigma not in known:
        trained = ", ".join(f"{one:g}" for one in known)
        warnings.warn(
            f"{card.name} was trained for noise of sigma {trained}; sigma is {sigma:g}, which it "
            "does not remove as well: certify with its own, or train one "
            "(docs/training.md, recipe denoise)",
            stacklevel=3,
        )
