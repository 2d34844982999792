"""JPEG compression by a real codec (Dziugaite et al., 2016; Guo et al., 2018)."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.images import from_uint8, to_picture
from nrpurify.defenses.opaque import Opaque
from nrpurify.defenses.registry import register_defense

_MOST = 65_500


@register_defense("jpeg", source="Guo et al., 2018", differentiable=False)
class JPEG(Opaque):
    """Round to 8 bits, compress and decompress with Pillow's codec (4:2:0 chroma).

    Args:
        quality: From 1 to 95, as the codec counts; the paper has 75, 50 and 20 (Table 2).

    Raises:
        InputError: Another quality.
    """

    def __init__(self, quality: int = 75) -> None:
        super().__init__()
        if not 1 <= quality <= 95:
            raise InputError(f"quality is {quality}; expected 1 to 95")
        self.quality = quality

    def process(self, image: Tensor) -> Tensor:
        """A 3×H×W image in [0, 1] to what the codec makes of it."""
        if max(image.shape) > _MOST:
            height, width = image.shape[-2:]
            raise InputError(f"JPEG has sides of at most {_MOST} pixels, got {width}×{height}")
        file = io.BytesIO()
        to_picture(image).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        with Image.open(file, formats=["JPEG"]) as picture:
            decoded = torch.from_numpy(np.array(picture))
        return from_uint8(decoded).permute(2, 0, 1)
