"""Checks of image tensors: shape, type and range, and how to mend what is wrong."""

import numpy as np
import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.tracing import exporting, has_values

_TOLERANCE = 1e-6
_LITTLE = 0.1
"""What steps and resizing add to pixels; normalization adds more."""
_NORMALIZED = "leave out mean/std normalization, which belongs inside the model, or clamp to [0, 1]"


def check_images(images: Tensor, name: str = "images", *, advice: str = _NORMALIZED) -> None:
    """Check that `images` is N×3×H×W of no side 0, floating point, finite and in [0, 1] (± 1e-6).

    `advice` is the mend for values that look normalized.

    Raises:
        InputError: it is not; the message says what was given and what to do.

    """
    check_shape(images, name)
    if images.numel() == 0:
        raise InputError(
            f"{name} has shape {tuple(images.shape)}; expected N×3×H×W with at least one image"
        )
    check_floats(images, name)
    check_range(images, name, advice=advice)


def check_floats(images: Tensor, name: str = "images") -> None:
    """Check that `images` has a floating-point type.

    Raises:
        InputError: it has another, such as uint8.

    """
    if not images.is_floating_point():
        raise InputError(f"{name} is {images.dtype}; expected floats: divide uint8 by 255")


def check_batch(images: Tensor, name: str = "images") -> None:
    """Check the shape and the type of `images`; none at all will do, and no value is read.

    Raises:
        InputError: as :func:`check_shape` and :func:`check_floats`.

    """
    check_shape(images, name)
    check_floats(images, name)


def check_pixels(images: Tensor, name: str = "images") -> None:
    """Check the shape, the type and the range of `images`; none at all will do.

    Raises:
        InputError: as :func:`check_batch` and :func:`check_range`.

    """
    check_batch(images, name)
    check_range(images, name)


def check_shape(images: Tensor, name: str = "images") -> None:
    """Check that `images` is N×3×H×W, without H or W of 0; none at all (N = 0) will do.

    Sides that ``torch.export`` leaves open are not compared.

    Raises:
        InputError: it is not.

    """
    if not isinstance(images, Tensor):
        raise InputError(f"{name} is a {type(images).__name__}; expected a tensor N×3×H×W")
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"{name} has shape {tuple(images.shape)}; expected N×3×H×W{_shape_advice(images)}"
        )
    if not exporting() and 0 in images.shape[2:]:
        raise InputError(
            f"{name} has shape {tuple(images.shape)}; expected N×3×H×W with sides of at least 1 "
            "pixel: leave out empty crops"
        )


def _shape_advice(images: Tensor) -> str:
    shape = images.shape
    if images.ndim == 3:
        return " with at least one image (add a batch dimension with [None])"
    if images.ndim == 4 and shape[-1] == 3:
        return ": the channels come last; give images.permute(0, 3, 1, 2)"
    if images.ndim == 4 and shape[1] == 1:
        return (
            ", RGB: gray images are repeated with images.expand(-1, 3, -1, -1), and a model of one "
            "channel takes their mean: lambda x: model(x.mean(1, keepdim=True)). No purifier was "
            "trained or measured on gray images"
        )
    if images.ndim == 4 and shape[1] == 4:
        return ": leave out the alpha channel with images[:, :3]"
    return " with at least one image"


def check_range(
    images: Tensor, name: str, *, advice: str = _NORMALIZED, tolerance: float = _TOLERANCE
) -> None:
    """Check that float `images` of any shape are finite and in [0, 1] ± `tolerance`.

    Values that are not there to be read pass: of empty and meta tensors, and under
    ``torch.export``, ``torch.compile``, ``torch.jit.trace`` and ``torch.func``.

    Raises:
        InputError: they are not; `advice` is the mend for values that look normalized.

    """
    if not has_values(images):
        return
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not (low >= -tolerance and high <= 1 + tolerance):
        raise InputError(
            f"{name} (shape {tuple(images.shape)}) has values from {low:.6g} to {high:.6g}; "
            f"expected [0, 1]: {_range_advice(low, high, advice)}"
        )


def _range_advice(low: float, high: float, advice: str) -> str:
    if not np.isfinite([low, high]).all():
        return "remove NaN and infinite values"
    if low >= -_TOLERANCE and high > 2:
        return "divide uint8 values by 255"
    if low >= -_LITTLE and high <= 1 + _LITTLE:
        return "a little outside, so a clamp(0, 1) is missing, before any normalization"
    return advice
