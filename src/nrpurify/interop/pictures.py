"""A defense for pictures as other libraries hold them: Pillow, numpy, tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_images
from nrpurify.core.images import as_floats, to_uint8

_MODES = {"RGB": "RGB", "L": "L", "P": "RGB", "1": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""Modes of Pillow that are taken, and what they become; those with opacity become RGBA."""


@torch.no_grad()
def defend_picture(defense: nn.Module, picture: Any) -> Any:
    """Defend one picture, or a batch in one array, and return the same kind.

    Args:
        defense: Maps N×3×H×W images in [0, 1] to the same shape, on any device.
        picture: A Pillow image (of RGBA the opacity stays); a numpy array H×W×3, H×W×4 (opacity
            last) or 3×H×W; or a tensor 3×H×W. Arrays and tensors may have a batch in front. Values
            are uint8, or floats in [0, 1].

    Raises:
        InputError: Another kind, shape or range, or a defense that changes the size.
    """
    if isinstance(picture, Image.Image):
        return _pillow(defense, picture)
    if isinstance(picture, np.ndarray):
        return _array(defense, picture)
    if isinstance(picture, Tensor):
        return _tensor(defense, picture)
    raise InputError(
        f"a picture is a {type(picture).__name__}; expected a Pillow image, a numpy array H×W×3 or "
        "a tensor 3×H×W"
    )


def _pillow(defense: nn.Module, picture: Image.Image) -> Image.Image:
    opaque = "A" not in picture.getbands() and "transparency" not in picture.info
    if opaque and picture.mode not in _MODES:
        raise InputError(
            f"the picture has Pillow's mode {picture.mode}; expected 8 bits a channel: "
            "picture.convert('RGB'), scaled to 0 to 255 first"
        )
    kept = picture.convert("RGB" if opaque else "RGBA")
    result = Image.fromarray(_array(defense, np.asarray(kept)))
    return result.convert(_MODES[picture.mode]) if opaque else result


def _array(defense: nn.Module, pixels: np.ndarray[Any, np.dtype[Any]]) -> Any:
    if pixels.ndim in (3, 4) and pixels.shape[-1] in (3, 4):
        planes = torch.from_numpy(np.array(np.moveaxis(pixels[..., :3], -1, -3), order="C"))
        result = np.moveaxis(_tensor(defense, planes).numpy(), -3, -1)
        return np.ascontiguousarray(np.concatenate([result, pixels[..., 3:]], -1))
    if pixels.ndim in (3, 4) and pixels.shape[-3] == 3:
        return _tensor(defense, torch.from_numpy(np.array(pixels, order="C"))).numpy()
    raise InputError(f"an array has shape {pixels.shape}; expected H×W×3, H×W×4 or 3×H×W")


def _tensor(defense: nn.Module, pixels: Tensor) -> Tensor:
    if pixels.ndim not in (3, 4) or pixels.shape[-3] != 3:
        raise InputError(f"a tensor has shape {tuple(pixels.shape)}; expected 3×H×W or N×3×H×W")
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise InputError(f"pixels are {pixels.dtype}; expected uint8, or floats in [0, 1]")
    images = pixels if pixels.ndim == 4 else pixels[None]
    if len(images) == 0:
        return pixels
    state = [*defense.parameters(), *defense.buffers()]
    result = _defend(defense, images.to(state[0].device if state else images.device))
    if result.shape != images.shape:
        before, after = (tuple(given.shape[2:]) for given in (images, result))
        raise InputError(f"the defense made {after} of {before} pixels; expected the same size")
    return result.reshape(pixels.shape).to(pixels.device)


def _defend(defense: Any, images: Tensor) -> Tensor:
    """In tiles where the defense has them, and in the type of ``images``."""
    result: Tensor
    if images.dtype == torch.uint8:
        if hasattr(defense, "purify_pixels"):
            result = defense.purify_pixels(images)
        else:
            result = to_uint8(defense(as_floats(images)))
        return result
    check_images(images)
    floats = images.float()
    result = defense.purify(floats) if hasattr(defense, "purify") else defense(floats)
    return result.to(images.dtype)
