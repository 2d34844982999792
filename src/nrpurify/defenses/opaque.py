"""What defenses that leave torch have in common: images out, no gradient back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.image_checks import check_batch


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(images: Tensor, process: Callable[[Tensor], Tensor]) -> Tensor:
        processed = [process(image) for image in images.detach().float().cpu()]
        return torch.stack(processed).clamp(0, 1).to(images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        images: Tensor,
        process: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, int]:
        every = images.movedim(in_dims[0] or 0, 0)
        processed: Tensor = _Opaque.apply(every.flatten(0, 1), process)
        return processed.reshape(every.shape[:2] + processed.shape[1:]), 0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(gradient), None


class Opaque(nn.Module):
    """A defense that works image by image outside of torch.

    Its gradient is zero everywhere, so an attack through it runs and goes nowhere; a fair attacker
    wraps it into :class:`nrpurify.attacks.BPDA`.
    """

    @abstractmethod
    def process(self, image: Tensor) -> Tensor:
        """A 3×H×W float32 image in [0, 1] on the CPU to the same shape."""

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1], also none, to the same shape, type and device, in [0, 1].

        Raises:
            InputError: The images have another shape or type.
        """
        check_batch(images)
        if not len(images):
            return images
        processed: Tensor = _Opaque.apply(images, self.process)
        return processed
