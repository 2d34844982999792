"""The median filter (feature squeezing, Xu et al., 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_batch
from nrpurify.defenses.registry import register_defense


@register_defense("median", source="Xu et al., 2018")
class Median(nn.Module):
    """The median of each pixel's size×size window, channel by channel; borders are reflected.

    Differentiable: the gradient goes to the pixel that is the median.

    Args:
        size: Side of the window, odd.

    Raises:
        InputError: ``size`` is not a positive odd number.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise InputError(f"size is {size}; expected an odd number from 1")
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same shape.

        Raises:
            InputError: The images have another shape or type, or a side is too short to be
                reflected.
        """
        check_batch(images)
        reach = self.size // 2
        if min(images.shape[2:]) <= reach:
            raise InputError(
                f"the images are {images.shape[3]}×{images.shape[2]}; a median of size {self.size} "
                f"takes sides above {reach}"
            )
        padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        middle: Tensor = windows.flatten(4).median(-1).values
        return middle
