"""How much of a purifier's correction is applied, its coarse and its fine part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32

STRONGEST = 4.0
WINDOW = 5
"""Side in pixels of the mean that separates coarse from fine."""
REACH = 16 / 255
"""How far strength takes a pixel at most: no further than the perturbations of the training."""


@dataclass(frozen=True)
class Strength:
    """Factors of a purifier's correction, network(x) − x.

    A network takes away less of a perturbation that it was not trained on than of those it was,
    most of all of coarse ones. More strength takes away more, and costs accuracy on clean images.
    It moves no value by more than :data:`REACH`, or than the network itself where that is more: of
    a perturbation that the network knows, its correction is as large already.

    Attributes:
        coarse: Factor of the correction's mean over 5×5 pixels, above 0 and up to 4.
        fine: Factor of the rest, in the same range.

    Raises:
        InputError: A factor out of its range.
    """

    coarse: float = 1.0
    fine: float = 1.0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("coarse", "fine"):
            factor = getattr(self, name)
            if not 0 < factor <= STRONGEST:
                raise InputError(
                    f"strength {name} is {factor}; expected above 0 and up to {STRONGEST:g}"
                )

    def to_tensor(self) -> Tensor:
        """Both factors, coarse first."""
        return torch.tensor([self.coarse, self.fine], device="cpu", dtype=torch.float32)

    @classmethod
    def from_tensor(cls, factors: Tensor) -> Strength:
        """What :meth:`to_tensor` made.

        Raises:
            InputError: It is none.
        """
        if factors.shape != (2,):
            raise InputError(f"strength has shape {tuple(factors.shape)}; expected two factors")
        return cls(*factors.tolist())


PLAIN = Strength()
"""The paper's: the network's own correction."""


def apply_strength(images: Tensor, purified: Tensor, factors: Tensor) -> Tensor:
    """N×3×H×W ``images`` corrected by ``factors`` times what leads to ``purified``.

    Args:
        images: In [0, 1].
        purified: What a network made of them.
        factors: Coarse and fine factor, of all images or, N×2, of each; or one column for both.
    """
    *coarse, fine = factors.to(images.dtype).view(-1, factors.shape[-1], 1, 1, 1).unbind(1)
    correction = purified - images
    strong = fine * correction
    for factor in coarse:
        strong = strong + (factor - fine) * window_mean(correction, WINDOW)
    limit = correction.abs().clamp(min=REACH)
    changed: Tensor = images + strong.clamp(-limit, limit)
    return changed


def window_mean(x: Tensor, side: int) -> Tensor:
    """The mean of N×C×H×W values over side×side windows, ``side`` odd, of what lies inside.

    It is average pooling at stride 1, as sums of shifted images: in a tenth of its time.
    """
    height, width = (_inside(length, side, x) for length in x.shape[2:])
    reach = side // 2
    padded = at_least_fp32(F.pad(x, (reach, reach, reach, reach)))
    total = _window_sums(_window_sums(padded, 3, side), 2, side)
    return (total / (height[:, None] * width)).to(x.dtype)


def _window_sums(x: Tensor, axis: int, side: int) -> Tensor:
    """Sums of ``side`` neighbors along an axis, by sums of 1, 2, 4 and so on that are put together.

    They take two additions for windows of 3, and three for windows of 5.
    """
    length = x.shape[axis] - side + 1
    parts: list[Tensor] = []
    sums, width, done = x, 1, 0
    while True:
        if side & width:
            parts.append(sums.narrow(axis, done, length))
            done += width
        if done == side:
            return reduce(torch.add, parts)
        rest = sums.shape[axis] - width
        sums = sums.narrow(axis, 0, rest) + sums.narrow(axis, width, rest)
        width *= 2


def _inside(length: int, side: int, like: Tensor) -> Tensor:
    """How many places of a window around each place lie inside."""
    before = torch.arange(length, device=like.device).clamp(max=side // 2)
    return at_least_fp32((before + before.flip(0) + 1).to(like.dtype))
