"""Gaussian noise: the control that every random defense has to beat."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_batch
from nrpurify.core.spec import hint_of_255
from nrpurify.defenses.randomness import Combine, RandomDefense
from nrpurify.defenses.registry import register_defense


@register_defense("noise", source="control")
class GaussianNoise(RandomDefense):
    """x + std·N(0, 1), clamped to [0, 1].

    Args:
        std: Standard deviation in units of [0, 1] images.
        passes: See :class:`~nrpurify.defenses.randomness.RandomDefense`.
        combine: ``mean`` of the logits, or ``vote``.
        generator: A CPU generator.

    Raises:
        InputError: ``std`` outside [0, 1], or passes or combination that cannot be used.
    """

    def __init__(
        self,
        std: float = 0.05,
        passes: int = 1,
        combine: Combine = "mean",
        generator: Generator | None = None,
    ) -> None:
        super().__init__(passes, combine, generator)
        if not 0 <= std <= 1:
            raise InputError(f"std is {std}; expected a value from 0 to 1{hint_of_255(std)}")
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1], also none, to the same shape, differentiable.

        Raises:
            InputError: The images have another shape or type.
        """
        check_batch(images)
        if not len(images):
            return images
        shape = images.shape[1:]
        draws = [torch.randn(shape, generator=self.generator, device="cpu") for _ in images]
        return (images + self.std * torch.stack(draws).to(images)).clamp(0, 1)
