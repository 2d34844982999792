"""Whether an exported file does what the eager module does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError, NrpurifyError, first_line
from nrpurify.defenses.engines import Array

Size = tuple[int, int, int]
"""Number of images, height and width."""
SIZES: tuple[Size, ...] = (
    *((1, 64, 64), (2, 96, 128), (1, 70, 75), (3, 101, 64)),
    *((1, 513, 65), (1, 88, 700), (1, 1100, 72), (1, 700, 513)),
)
"""Other batches and odd sides than those of the trace, and images that the gate sees in pieces."""
IMAGES = {"fp32": 0.01, "fp16": 1.0}
"""Largest difference of a purified image, in 255ths, by the file's arithmetic."""
LOGITS = 1e-3
"""Largest difference of logits, as a share of the largest one."""


class ParityError(NrpurifyError, RuntimeError):
    """An exported file gives other values than the eager module."""


@dataclass(frozen=True)
class Parity:
    """The largest difference on images of one size.

    Attributes:
        size: Number of images, height and width.
        difference: In 255ths for images; for logits a share of the largest one.
    """

    size: Size
    difference: float

    def __str__(self) -> str:
        """For example ``2×3×96×128``."""
        count, height, width = self.size
        return f"{count}×3×{height}×{width}"


def sample(size: Size) -> Tensor:
    """Smooth pictures with random signs of 0, 8/255 and 16/255 on them, N×3×H×W in [0, 1]."""
    count, height, width = size
    generator = torch.Generator().manual_seed(height * 10_000 + width)
    coarse = torch.rand(count, 3, height // 16 + 2, width // 16 + 2, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    signs = torch.randn(size[0], 3, height, width, generator=generator).sign()
    eps = torch.arange(1, count + 1).remainder(3).view(-1, 1, 1, 1) * 8 / 255
    return (smooth + eps * signs).clamp(0, 1)


@torch.inference_mode()
def check_parity(
    module: nn.Module,
    run: Callable[[Array], Array],
    *,
    logits: bool,
    sizes: Sequence[Size],
    tolerance: float,
) -> list[Parity]:
    """Compare a file with the module that it was made of.

    Args:
        module: Maps N×3×H×W images in [0, 1] to images or logits.
        run: The same by the file.
        logits: Whether they are logits.
        sizes: Of the images to try.
        tolerance: Largest difference.

    Raises:
        InputError: The module takes no images of that size.
        ParityError: They differ by more than ``tolerance``, or the file takes no images of that
            size.
    """
    found = []
    for size in sizes:
        images = sample(size)
        try:
            expected = module(images)
        except Exception as error:  # a user's model
            raise InputError(
                f"the model fails on images of {Parity(size, 0)}: {first_line(error)}; "
                "a model of one size needs it in its spec, as SPEC:size=224"
            ) from error
        try:
            result = torch.from_numpy(run(images.numpy()))
        except Exception as error:  # engines raise nearly anything
            raise ParityError(
                f"the exported file fails on images of {Parity(size, 0)}: {first_line(error)}"
            ) from error
        scale = expected.abs().max().item() if logits else 1 / 255
        same = result.shape == expected.shape
        difference = (result - expected).abs().max().item() / scale if same else float("inf")
        found.append(Parity(size, difference))
        if not difference <= tolerance:
            raise ParityError(
                f"the exported file differs from the purifier on images of {found[-1]}: by "
                f"{_text(difference, logits)}; expected at most {_text(tolerance, logits)}. "
                "No file was written"
            )
    return found


def _text(difference: float, logits: bool) -> str:
    return f"{difference:.2g} of the largest logit" if logits else f"{difference:.2g}/255"
