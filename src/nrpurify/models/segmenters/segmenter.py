"""The one shape of a segmenter: images in [0, 1] go in, logits of the same size come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_pixels
from nrpurify.core.precision import at_least_fp32, weights_dtype

Sizing = Callable[[int, int], tuple[int, int]]
"""From an image's height and width to those that a network takes."""


def any_size(height: int, width: int) -> tuple[int, int]:
    """Leave the size as it is."""
    return height, width


def square(side: int) -> Sizing:
    """Resize to ``side`` × ``side``; the aspect ratio gives way."""
    return lambda _height, _width: (side, side)


def short_side(side: int) -> Sizing:
    """Resize so that the shorter side has ``side`` pixels."""

    def sizing(height: int, width: int) -> tuple[int, int]:
        short = min(height, width)
        return side * height // short, side * width // short

    return sizing


class Segmenter(nn.Module):
    """A network with its preprocessing inside, differentiable from the logits to the image.

    Images are resized (bilinear, antialiased) as ``sizing`` says, scaled to a maximum of one if
    ``to_maximum``, and normalized by ``mean`` and ``std``. The network gets them in the precision
    of its weights. Logits are resized back (bilinear).

    Args:
        network: Returns logits N×classes×h×w, or a mapping with them under ``out`` or ``logits``.
        name: What reports call it.
        classes: Names of the classes, in the order of the logits.
        mean: Of each channel, in units of [0, 1].
        std: Of each channel, in units of [0, 1].
        sizing: Which size ``network`` takes.
        to_maximum: Divide each image by its greatest value first.
        min_side: The shortest side that ``network`` can take.
    """

    name: str
    source_sha256: str = ""  # of a user's file that made it
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        classes: tuple[str, ...],
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        sizing: Sizing = any_size,
        to_maximum: bool = False,
        min_side: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.name, self.classes = network, name, classes
        self.sizing, self.to_maximum, self.min_side = sizing, to_maximum, min_side
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return what the network sees of images N×3×H×W in [0, 1]."""
        size = self.sizing(images.shape[2], images.shape[3])
        if images.shape[2:] != size:
            resized = F.interpolate(
                at_least_fp32(images),  # on the CPU resizing knows no half precision
                size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
            images = resized.to(images.dtype)
        if self.to_maximum:
            images = images / images.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits N×classes×H×W of images N×3×H×W in [0, 1].

        Raises:
            InputError: Images or the network's logits have another shape, or images are outside
                of [0, 1].
        """
        check_pixels(images, f"the batch for {self.name}")
        if min(images.shape[2:]) < self.min_side:
            raise InputError(
                f"{self.name} was given images of shape {tuple(images.shape)}; expected N×3×H×W "
                f"with sides of at least {self.min_side}"
            )
        shown = self.preprocess(images)
        logits = self._logits(self.network(shown.to(weights_dtype(self.network, shown))))
        if logits.shape[2:] == images.shape[2:]:
            return logits
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

    def _logits(self, answer: Any) -> Tensor:
        wanted = f"N×{len(self.classes)}×H×W, or a mapping with them under 'out' or 'logits'"
        logits = answer
        if isinstance(answer, Mapping):
            logits = answer.get("out", answer.get("logits"))
        if not isinstance(logits, Tensor):
            keys = f" of {', '.join(map(str, answer))}" if isinstance(answer, Mapping) else ""
            raise InputError(
                f"{self.name} returned a {type(answer).__name__}{keys}; expected logits {wanted}"
            )
        if logits.ndim != 4 or logits.shape[1] != len(self.classes):
            raise InputError(
                f"{self.name} returned shape {tuple(logits.shape)}; expected logits {wanted}"
            )
        return logits


def as_segmenter(network: nn.Module, classes: tuple[str, ...], *, name: str = "") -> Segmenter:
    """Wrap a user's own network, frozen: N×3×H×W in [0, 1] to N×classes×h×w.

    The logits may stand in a mapping, under ``out`` or ``logits``. For other preprocessing build a
    :class:`Segmenter`.
    """
    made = Segmenter(network, name=name or type(network).__name__, classes=classes)
    return made.eval().requires_grad_(False)
