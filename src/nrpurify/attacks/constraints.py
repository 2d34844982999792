"""The balls around images, ℓ∞ and ℓ2: what an attack may return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.precision import HALF
from nrpurify.core.spec import hint_of_255

Eps = float | Tensor
Norm = Literal["linf", "l2"]
NORMS: tuple[str, ...] = get_args(Norm)


def norms(values: Tensor, order: float) -> Tensor:
    """The N norms of N×3×H×W values, in one pass however they lie in memory."""
    found: Tensor = torch.linalg.vector_norm(values, order, (1, 2, 3))
    return found


def per_sample(value: Eps, images: Tensor, name: str = "eps", norm: str = "linf") -> Tensor:
    """Return ``value`` as an N×1×1×1 tensor beside ``images``.

    Args:
        value: One number for all images, or N numbers; in units of [0, 1] images.
        images: N×3×H×W.
        name: What the value is called in an error.
        norm: ``linf``, or ``l2``, where values above 1 are allowed.

    Raises:
        InputError: No number, a value outside (0, 1] (ℓ2: not above 0), or neither 1 nor N of them.
    """
    try:
        values = torch.as_tensor(value, dtype=images.dtype, device=images.device).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} is {value!r}; expected one number or one an image, such as 16/255"
        ) from error
    if values.numel() not in (1, len(images)):
        raise InputError(
            f"{name} has {values.numel()} values for {len(images)} images; expected 1 or one each"
        )
    largest = 1.0 if norm == "linf" else torch.finfo(values.dtype).max
    if not bool(((values > 0) & (values <= largest)).all()):
        worst = float(values.max() if values.max() > largest else values.min())
        if norm == "linf":
            raise InputError(f"{name} is {worst:g}; expected a value in (0, 1]{hint_of_255(worst)}")
        raise InputError(f"{name} is {worst:g}; expected an ℓ2 length above 0, such as 3.0")
    return values.expand(len(images)).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class LinfBall:
    """All images within ``eps`` of the clean ones and within [0, 1] (Algorithm 1, Eq. 3)."""

    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, images: Tensor, eps: Eps) -> LinfBall:
        """The ball around N×3×H×W ``images``; ``eps`` as in :func:`per_sample`."""
        radius = per_sample(eps, images)
        return cls((images - radius).clamp(0, 1), (images + radius).clamp(0, 1))

    def project(self, images: Tensor) -> Tensor:
        """The nearest images inside the ball."""
        return images.clamp(self.lower, self.upper)

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length 1 that raises a linear loss most: the gradient's sign."""
        return gradient.sign()

    def cast(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert images of the ball to ``dtype``; rounding to half precision stays inside it.

        The ball must hold a value of ``dtype`` at each pixel, as one around such images does.
        """
        return _cast_between(images, self.lower, self.upper, dtype)

    @staticmethod
    def size(change: Tensor) -> Tensor:
        """The N norms of N×3×H×W changes."""
        return norms(change, torch.inf)


@dataclass(frozen=True)
class L2Ball:
    """All images whose change has an ℓ2 length of at most ``eps``, and within [0, 1].

    Attributes:
        center: N×3×H×W clean images.
        radius: N×1×1×1.
    """

    center: Tensor
    radius: Tensor

    @classmethod
    def around(cls, images: Tensor, eps: Eps) -> L2Ball:
        """The ball around N×3×H×W ``images``; ``eps`` as in :func:`per_sample`."""
        return cls(images.clamp(0, 1), per_sample(eps, images, norm="l2"))

    def project(self, images: Tensor) -> Tensor:
        """The images moved toward the clean ones as far as needed, and clipped to [0, 1].

        Both clipping and shortening only shrink the change, so the result keeps the budget.
        """
        change = images - self.center
        length = self.size(change).view(-1, 1, 1, 1)
        # inside the ball nothing is multiplied, so that a second projection changes no bit
        scale = torch.where(length > self.radius, self.radius / length.clamp_min(1e-20), 1.0)
        return torch.where(scale < 1, self.center + scale * change, images).clamp(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length 1 that raises a linear loss most: the normalized gradient."""
        # divided by the largest entry first: squares of tiny or huge gradients leave fp32
        largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)
        scaled = gradient / largest
        return scaled / self.size(scaled).view(-1, 1, 1, 1).clamp_min(1e-20)

    def cast(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert images of the ball to ``dtype``; rounding to half precision shrinks changes."""
        lower, upper = torch.minimum(self.center, images), torch.maximum(self.center, images)
        return _cast_between(images, lower, upper, dtype)

    @staticmethod
    def size(change: Tensor) -> Tensor:
        """The N norms of N×3×H×W changes."""
        return norms(change, 2)


Ball = LinfBall | L2Ball


def ball_around(images: Tensor, eps: Eps, norm: str = "linf") -> Ball:
    """The ball of that norm around N×3×H×W images in [0, 1].

    Raises:
        InputError: An unknown norm, or an ``eps`` that cannot be a radius.
    """
    check_norm(norm)
    return LinfBall.around(images, eps) if norm == "linf" else L2Ball.around(images, eps)


def check_norm(norm: str) -> None:
    """Raise InputError for an unknown norm."""
    if norm not in NORMS:
        raise InputError(f"norm is {norm!r}; expected one of {', '.join(NORMS)}")


def _cast_between(images: Tensor, lower: Tensor, upper: Tensor, dtype: torch.dtype) -> Tensor:
    rounded = images.to(dtype)
    if dtype not in HALF:
        return rounded
    wide = rounded.to(images.dtype)
    over, under = (wide > upper).short(), (wide < lower).short()
    # neighbors of a value that is not negative differ by one in their bits
    return (rounded.view(torch.int16) - over + under).view(dtype)


def round_within(attacked: Tensor, clean: Tensor, eps: float, norm: str = "linf") -> Tensor:
    """Attacked images as an 8-bit file holds them, within ``eps`` of the clean ones there.

    Each value goes to the nearest of the 256 levels; where that is further than ``eps`` from the
    clean value, rounded to 8 bits too, to the next one toward it. In ℓ2, where the changes together
    decide, those values take the next level toward the clean one that rounding has moved away from
    it, the most undecided first, until the length of the change is within ``eps``.

    Args:
        attacked: N×3×H×W in [0, 1], or a single image 3×H×W.
        clean: Of the same shape.
        eps: Budget: in (0, 1] for ``linf``, above 0 for ``l2``; below 1/255 nothing can change.
        norm: ``linf`` or ``l2``.

    Returns:
        Multiples of 1/255, float32.
    """
    if norm == "l2":
        return _round_within_l2(attacked, clean, eps)
    whole = int(255 * eps + 1e-3)  # 255 times 16/255 may be a little less than 16
    base, nearest = (to_uint8(images).short() for images in (clean, attacked))
    held = torch.minimum(torch.maximum(nearest, base - whole), base + whole)
    return from_uint8(held.clamp(0, 255).to(torch.uint8))


def _round_within_l2(attacked: Tensor, clean: Tensor, eps: float) -> Tensor:
    images = attacked.reshape(-1, *attacked.shape[-3:])
    base = to_uint8(clean).reshape(images.shape).double()
    change, budget = (255 * images.double() - base).flatten(1), 255 * eps * (1 + 1e-9)
    length = change.norm(dim=1, keepdim=True)
    change = change * (budget / length.clamp_min(budget))  # clean values may be between two levels
    levels = change.round()
    for row, exact in zip(levels, change, strict=True):
        excess = row.square().sum() - budget**2
        grown = (row.abs() > exact.abs()).nonzero().flatten()
        if excess <= 0 or not len(grown):
            continue
        grown = grown[(row[grown] - exact[grown]).abs().argsort(descending=True, stable=True)]
        saved = (2 * row[grown].abs() - 1).cumsum(0)
        grown = grown[: int((saved < excess).sum()) + 1]
        row[grown] -= row[grown].sign()
    held = base + levels.view(base.shape)
    return from_uint8(held.clamp(0, 255).to(torch.uint8)).view(attacked.shape)


def lost_by_rounding(eps: float) -> list[str]:
    """What to tell about attacks at ``eps`` that are rounded to 8 bits; nothing if they survive."""
    if round(255 * eps, 6) >= 1:
        return []
    return [
        f"eps {255 * eps:.3g}/255 is below one step of 8 bits: rounded images are the clean ones, "
        "and nothing is attacked; take at least 1/255, or unrounded values"
    ]
