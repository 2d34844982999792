"""The L∞ box around images: what an attack may return."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.fractions import hint_of_255
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.precision import HALF

Eps = float | Tensor


def per_sample(value: Eps, images: Tensor, name: str = "eps") -> Tensor:
    """Return ``value`` as an N×1×1×1 tensor beside ``images``.

    Args:
        value: One number for all images, or N numbers; in units of [0, 1] images.
        images: N×3×H×W.
        name: What the value is called in an error.

    Raises:
        InputError: A value outside (0, 1], or neither 1 nor N of them.
    """
    values = torch.as_tensor(value, dtype=images.dtype, device=images.device).reshape(-1)
    if values.numel() not in (1, len(images)):
        raise InputError(
            f"{name} has {values.numel()} values for {len(images)} images; expected 1 or one each"
        )
    if not bool(((values > 0) & (values <= 1)).all()):
        worst = float(values.max() if values.max() > 1 else values.min())
        raise InputError(f"{name} is {worst:g}; expected a value in (0, 1]{hint_of_255(worst)}")
    return values.expand(len(images)).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Box:
    """All images within ``eps`` of the clean ones and within [0, 1] (Algorithm 1, Eq. 3)."""

    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, images: Tensor, eps: Eps) -> Box:
        """The box around N×3×H×W ``images``; ``eps`` as in :func:`per_sample`."""
        radius = per_sample(eps, images)
        return cls((images - radius).clamp(0, 1), (images + radius).clamp(0, 1))

    def project(self, images: Tensor) -> Tensor:
        """The nearest images inside the box."""
        return torch.minimum(torch.maximum(images, self.lower), self.upper)

    def cast(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert images of the box to ``dtype``; rounding to half precision stays inside it.

        The box must hold a value of ``dtype`` at each pixel, as one around such images does.
        """
        rounded = images.to(dtype)
        if dtype not in HALF:
            return rounded
        wide = rounded.to(images.dtype)
        over, under = (wide > self.upper).short(), (wide < self.lower).short()
        # neighbors of a value that is not negative differ by one in their bits
        return (rounded.view(torch.int16) - over + under).view(dtype)


def lost_by_rounding(eps: float) -> list[str]:
    """What to tell about attacks at ``eps`` that are rounded to 8 bits; nothing if they survive."""
    if round(255 * eps, 6) >= 1:
        return []
    return [
        f"eps {255 * eps:.3g}/255 is below one step of 8 bits: rounded images are the clean ones, "
        "and nothing is attacked; take at least 1/255, or unrounded values"
    ]


def round_within(attacked: Tensor, clean: Tensor, eps: float) -> Tensor:
    """Attacked images as an 8-bit file holds them, within ``eps`` of the clean ones there.

    Each value goes to the nearest of the 256 levels; where that is further than ``eps`` from the
    clean value, rounded to 8 bits too, to the next one toward it.

    Args:
        attacked: N×3×H×W in [0, 1], or a single image 3×H×W.
        clean: Of the same shape.
        eps: L∞ budget in (0, 1]; below 1/255 nothing can change.

    Returns:
        Multiples of 1/255, float32.
    """
    whole = int(255 * eps + 1e-3)  # 255 times 16/255 may be a little less than 16
    base, nearest = (to_uint8(images).short() for images in (clean, attacked))
    held = torch.minimum(torch.maximum(nearest, base - whole), base + whole)
    return from_uint8(held.clamp(0, 255).to(torch.uint8))
