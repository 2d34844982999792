"""Unrounded images in files: a 3×H×W float32 tensor named ``image`` in ``.safetensors``."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import atomic_path

_KEY = "image"


def save_image_tensor(path: str | Path, rgb: Tensor) -> None:
    """Write 3×H×W values in [0, 1] as float32, atomically.

    Raises:
        InputError: The shape or a value is wrong.
        ImageError: The file cannot be written.
    """
    _check(str(path), rgb, InputError)
    try:
        with atomic_path(path) as temporary:
            save_file({_KEY: rgb.detach().float().cpu().contiguous()}, temporary)
    except (OSError, SafetensorError) as error:
        raise ImageError(f"cannot write {str(path)!r}: {error}") from error


def load_image_tensor(path: str | Path) -> Tensor:
    """Read what :func:`save_image_tensor` wrote: 3×H×W float32 in [0, 1].

    Raises:
        ImageError: The file is missing or broken or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            rgb: Tensor = file.get_tensor(_KEY)
    except (OSError, SafetensorError) as error:
        raise ImageError(f"cannot read {str(path)!r}: {error}") from error
    _check(str(path), rgb, ImageError)
    return rgb.float()


def _check(path: str, rgb: Tensor, error: type[ImageError] | type[InputError]) -> None:
    shape_fits = rgb.ndim == 3 and rgb.shape[0] == 3 and rgb.numel() > 0
    if not (shape_fits and rgb.is_floating_point()):
        given = f"{rgb.dtype} of shape {tuple(rgb.shape)}"
        raise error(f"{path!r} holds {given}; expected floats 3×H×W")
    low, high = (float(bound) for bound in torch.aminmax(rgb.detach()))
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise error(f"{path!r} has values from {low:.6g} to {high:.6g}; expected [0, 1]")
