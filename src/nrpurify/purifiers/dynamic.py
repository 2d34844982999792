"""The paper's dynamic inference: a random step in front of a purifier."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.random import check_generator
from nrpurify.core.spec import hint_of_255


class DynamicPurifier(nn.Module):
    """A purifier that first takes a random step, anew at each call (appendix B.1).

    x + noise·N(0, 1), held within ``eps`` of x and [0, 1], then one pass. Judge it by EOT with
    its count, never by a single draw.

    Args:
        purifier: Maps images to images.
        noise: Standard deviation in units of [0, 1] images.
        eps: Bound of the step.
        passes: How often :func:`nrpurify.protect` asks the model about each image.
        combine: What it makes of the answers: a majority ``vote``, or their ``mean``.
        generator: A CPU generator that makes the draws reproducible, image after image.

    Raises:
        InputError: ``noise`` or ``eps`` outside [0, 1].

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> purifier = nrpurify.load_purifier("tiny")
        >>> dynamic = nrpurify.DynamicPurifier(purifier, generator=generator)
        >>> dynamic(torch.rand(1, 3, 96, 96)).shape
        torch.Size([1, 3, 96, 96])
    """

    def __init__(
        self,
        purifier: nn.Module,
        *,
        noise: float = 0.05,
        eps: float = 16 / 255,
        passes: int = 1,
        combine: Literal["mean", "vote"] = "vote",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_generator(generator)
        for name, value in (("noise", noise), ("eps", eps)):
            if not 0 <= value <= 1:
                raise InputError(
                    f"{name} is {value}; expected a value from 0 to 1{hint_of_255(value)}"
                )
        self.purifier = purifier
        self.noise, self.eps, self.generator = noise, eps, generator
        self.passes, self.combine = passes, combine

    def step(self, images: Tensor) -> Tensor:
        """The random step alone: N×3×H×W images in [0, 1], also none, to the same."""
        if not len(images):
            return images
        shape = images.shape[1:]
        draws = [torch.randn(shape, generator=self.generator, device="cpu") for _ in images]
        step = torch.stack(draws).to(images) * self.noise
        return (images + step.clamp(-self.eps, self.eps)).clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Purify N×3×H×W images in [0, 1] behind a fresh random step."""
        purified: Tensor = self.purifier(self.step(images))
        return purified
