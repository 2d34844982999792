"""Total variation minimization (Guo et al., 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.defenses.opaque import Opaque
from nrpurify.defenses.registry import register_defense


@register_defense("tvm", source="Guo et al., 2018", differentiable=False)
class TVM(Opaque):
    """Split Bregman TV denoising, channel by channel, by scikit-image.

    Args:
        weight: Of the data term: the smaller, the smoother. The paper has 10 and 30 (Table 2).
        iterations: At most so many; it ends before when the image changes by less than 0.001.

    Raises:
        InputError: A weight or number of iterations that is not positive.
        MissingExtraError: scikit-image is not installed.
    """

    def __init__(self, weight: float = 30.0, iterations: int = 100) -> None:
        super().__init__()
        if weight <= 0 or iterations < 1:
            raise InputError(
                f"weight is {weight} and iterations {iterations}; expected positive numbers"
            )
        try:
            from skimage.restoration import denoise_tv_bregman
        except ImportError as error:
            raise MissingExtraError("scikit-image", "defenses") from error
        self.weight, self.iterations = weight, iterations
        self._denoise = denoise_tv_bregman

    def process(self, image: Tensor) -> Tensor:
        """A 3×H×W image in [0, 1] to a smoother one.

        Raises:
            InputError: A side of one pixel.
        """
        height, width = image.shape[1:]
        if min(height, width) < 2:
            raise InputError(
                f"the images are {width}×{height}; tvm takes sides of at least 2 pixels"
            )
        smooth = self._denoise(
            image.permute(1, 2, 0).numpy(),
            weight=self.weight,
            max_num_iter=self.iterations,
            eps=1e-3,
            isotropic=True,
            channel_axis=-1,
        )
        return torch.from_numpy(smooth).permute(2, 0, 1)
