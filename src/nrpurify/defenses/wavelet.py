"""Wavelet denoising, the first half of the SR defense (Mustafa et al., 2019)."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.spec import hint_of_255
from nrpurify.defenses.opaque import Opaque
from nrpurify.defenses.registry import register_defense


@register_defense(
    "wavelet", source="Mustafa et al., 2019, without its network", differentiable=False
)
class Wavelet(Opaque):
    """BayesShrink soft thresholds of wavelet coefficients in YCbCr, by scikit-image.

    Args:
        sigma: Standard deviation of the noise to remove, in units of [0, 1] images.

    Raises:
        InputError: ``sigma`` outside (0, 1].
        MissingExtraError: scikit-image or PyWavelets is not installed.
    """

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__()
        if not 0 < sigma <= 1:
            raise InputError(
                f"sigma is {sigma}; expected a positive number up to 1{hint_of_255(sigma)}"
            )
        if find_spec("pywt") is None:
            raise MissingExtraError("PyWavelets", "defenses")
        try:
            from skimage.restoration import denoise_wavelet
        except ImportError as error:
            raise MissingExtraError("scikit-image", "defenses") from error
        self.sigma = sigma
        self._denoise = denoise_wavelet

    def process(self, image: Tensor) -> Tensor:
        """A 3×H×W image in [0, 1] to a denoised one."""
        denoised = self._denoise(
            image.permute(1, 2, 0).numpy(),
            sigma=self.sigma,
            wavelet="db1",
            mode="soft",
            method="BayesShrink",
            convert2ycbcr=True,
            rescale_sigma=True,
            channel_axis=-1,
        )
        return torch.from_numpy(denoised).permute(2, 0, 1)
