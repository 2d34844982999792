"""R&P: random resizing and padding (Xie et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_batch
from nrpurify.defenses.randomness import Combine, RandomDefense
from nrpurify.defenses.registry import register_defense

Draw = tuple[int, int, int]
"""Of an image: its new side, and how many pixels lie left of it and above it."""


@register_defense("rp", source="Xie et al., 2018")
class RandomPad(RandomDefense):
    """Resize to a random size in [low, high), put into high×high zeros at a random place.

    The model sees high×high images. A :class:`~nrpurify.models.Classifier` sees them at its input
    size times high over the side of the images as given. The defaults are made for 299×299 inputs;
    ``low=232, high=248`` has the same ratios for 224. Zeros are black here; the published code pads
    zeros of [-1, 1], which are mid-gray, and mirrors the images at random, which this does not.

    Args:
        low: Least side in pixels.
        high: Side of the result.
        passes: The paper averages 30 (Sec. 4.2).
        combine: ``mean`` of the logits, or ``vote``.
        generator: A CPU generator.

    Raises:
        InputError: Sides, passes or combination that cannot be used.
    """

    def __init__(
        self,
        low: int = 310,
        high: int = 331,
        passes: int = 30,
        combine: Combine = "mean",
        generator: Generator | None = None,
    ) -> None:
        super().__init__(passes, combine, generator)
        if not 1 <= low < high:
            raise InputError(f"low is {low} and high {high}; expected 1 <= low < high")
        self.low, self.high = low, high

    def forward(self, images: Tensor, draws: Sequence[Draw] | None = None) -> Tensor:
        """N×3×H×W images in [0, 1], also none, to N×3×high×high, differentiable.

        Args:
            images: N×3×H×W in [0, 1].
            draws: One for each image; None makes new ones.

        Raises:
            InputError: The images have another shape or type.
        """
        check_batch(images)
        return self._vary(images, draws)

    def _vary(self, images: Tensor, draws: Sequence[Draw] | None = None) -> Tensor:
        if not len(images):
            return images.new_empty(0, images.shape[1], self.high, self.high)
        draws = draws or [self.draw() for _ in images]
        pairs = zip(torch.split(images, 1), draws, strict=True)
        return torch.cat([self._place(image, *draw) for image, draw in pairs])

    def draw(self) -> Draw:
        """What :meth:`forward` does to one image."""
        side = self.integer(self.low, self.high - 1)
        rest = self.high - side
        return side, self.integer(0, rest), self.integer(0, rest)

    def _place(self, image: Tensor, side: int, left: int, top: int) -> Tensor:
        rest = self.high - side
        resized = F.interpolate(image, (side, side), mode="nearest")
        return F.pad(resized, (left, rest - left, top, rest - top))

    def move_alpha(self, alpha: Tensor) -> Tensor:
        """N×1×H×W opacity to N×1×high×high; what is padded is transparent."""
        return self._vary(alpha)
