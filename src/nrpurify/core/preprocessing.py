"""The normalization that a model expects: read from what users have, applied and undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from nrpurify.core.errors import InputError

Channels = float | Iterable[float] | Tensor
"""One number for all channels, or one a channel."""
_SIDE = 384
_COLORS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (51, 102, 204))
"""Pixels on which an unknown transform is tried: the last one checks what the others give."""
_HELP = (
    "give mean= and std= (3 numbers each, in units of [0, 1]), or as preprocessing= a transform of "
    "torchvision or timm without random parts, an image processor of transformers, or a data "
    "config with mean and std"
)


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects: ``(x - mean) / std`` of an RGB image in [0, 1].

    ``mean`` and ``std`` are in units of [0, 1] and in the order of the channels that the network
    sees: blue, green, red if ``bgr`` (the Caffe convention), else red, green, blue. ``size`` is the
    side in pixels at which a network was trained, None for a feature extractor of any size.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False
    size: int | None = None

    def __str__(self) -> str:
        """Return one line for a table, for example ``BGR, mean 0.408 0.458 0.481, ... 227 px``."""
        mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        size = f"{self.size} px" if self.size else "any size"
        return f"{'BGR' if self.bgr else 'RGB'}, mean {mean}, std {std}, {size}"


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, after an optional change from RGB to BGR.

    Args:
        mean: One value a channel, in the units of [0, 1] images.
        std: One value a channel.
        bgr: Reverse the channels first; ``mean`` and ``std`` are then in BGR order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float], *, bgr: bool = False) -> None:
        super().__init__()
        self.bgr = bgr
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W in [0, 1] to the network's own range."""
        images = images.flip(1) if self.bgr else images
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def undo(self, images: Tensor) -> Tensor:
        """N×3×H×W in the network's own range to RGB in [0, 1]; half precision becomes fp32."""
        if images.dtype in (torch.float16, torch.bfloat16):
            images = images.float()
        images = images * self.std.to(images.dtype) + self.mean.to(images.dtype)
        return images.flip(1) if self.bgr else images


def find_preprocessing(
    mean: Channels | None, std: Channels | None, preprocessing: object | None
) -> Preprocessing | None:
    """What the user gave, in one form; None when nothing was given.

    Args:
        mean: In units of [0, 1], in the order of the channels that the network sees.
        std: The same.
        preprocessing: See :func:`read_preprocessing`.

    Raises:
        InputError: One of ``mean`` and ``std`` alone, both ways at once, or values that cannot be.
    """
    if preprocessing is not None:
        if mean is not None or std is not None:
            raise InputError("mean or std was given with preprocessing; give one or the other")
        return read_preprocessing(preprocessing)
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise InputError(f"{'std' if mean is None else 'mean'} was given alone; give mean and std")
    return _checked(mean, std)


def read_preprocessing(given: object) -> Preprocessing:
    """Mean, std and channel order of a model's preprocessing; sizes and crops are left aside.

    Args:
        given: A :class:`Preprocessing`; a mapping or object with ``mean`` and ``std``, such as
            timm's data config; weights of torchvision; or a callable from a PIL image, a uint8 or
            a float tensor 3×H×W to the model's input, such as a transform of torchvision or timm
            or an image processor of transformers. A callable is tried on images of one color, so
            that all that it does to values counts.

    Raises:
        InputError: No mean and std can be found, or the callable does something else to values.
    """
    if isinstance(given, Preprocessing):
        return Preprocessing(given.mean, given.std, given.bgr)
    transforms = getattr(given, "transforms", None)
    if callable(transforms) and not isinstance(transforms, nn.Module):
        given = transforms()  # an entry of torchvision's weights
    given = getattr(given, "image_processor", given)  # transformers: text and images together
    if isinstance(given, Mapping):
        return _from_config(given)
    if callable(given):
        return _from_callable(given)
    if hasattr(given, "mean") and hasattr(given, "std"):
        return _checked(given.mean, given.std)
    raise InputError(f"no mean and std can be read from a {type(given).__name__}; {_HELP}")


def _from_config(config: Mapping[str, Any]) -> Preprocessing:
    rescale = config.get("rescale_factor", 1 / 255)
    if config.get("do_rescale") is False or not math.isclose(rescale, 1 / 255):
        raise InputError(
            "the config does not divide pixels by 255: give the image processor itself"
        )
    flipped = bool(config.get("do_flip_channel_order", False))
    if config.get("do_normalize") is False:  # mean and std may still stand there
        return Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flipped)
    for prefix in ("", "image_"):
        if f"{prefix}mean" in config and f"{prefix}std" in config:
            found = _checked(config[f"{prefix}mean"], config[f"{prefix}std"])
            return Preprocessing(found.mean, found.std, flipped)
    raise InputError(f"the config has only {', '.join(map(str, config)) or 'nothing'}; {_HELP}")


def _from_callable(transform: Callable[..., Any]) -> Preprocessing:
    """Fit ``(x - mean) / std`` to what the transform makes of images of one color."""
    black, *pure, mixed = _outputs(transform)
    slopes = torch.stack(pure, 1) - black[:, None]  # output channel × input channel
    for bgr in (False, True):
        scale = (slopes.flip(1) if bgr else slopes).diagonal()
        used = torch.diag(scale)
        color = torch.tensor(_COLORS[-1], device="cpu").double() / 255
        expected = scale * (color.flip(0) if bgr else color) + black
        exact = torch.allclose(used.flip(1) if bgr else used, slopes, atol=1e-4, rtol=1e-4)
        if exact and bool((scale > 0).all()) and torch.allclose(expected, mixed, atol=2e-2):
            return _checked(0 - black / scale, 1 / scale, bgr=bgr)
    raise InputError(
        f"{_name(transform)} does more to the values of pixels than normalize them by mean and "
        f"std, or is random; {_HELP}"
    )


def _outputs(transform: Callable[..., Any]) -> list[Tensor]:
    """The three values at the center for each of the colors, in double precision."""
    errors = []
    for make in (_picture, _bytes, _floats):
        try:
            return [_center(transform(make(color))) for color in _COLORS]
        except Exception as error:  # a transform raises anything on what it does not take
            errors.append(f"{type(error).__name__}: {error}")
    raise InputError(f"{_name(transform)} cannot be tried ({errors[0]:.200}); {_HELP}")


def _picture(color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (_SIDE, _SIDE), color)


def _bytes(color: tuple[int, int, int]) -> Tensor:
    return (
        torch.tensor(color, dtype=torch.uint8, device="cpu").view(3, 1, 1).expand(3, _SIDE, _SIDE)
    )


def _floats(color: tuple[int, int, int]) -> Tensor:
    return _bytes(color).float() / 255


def _center(output: Any) -> Tensor:
    if isinstance(output, Mapping):
        output = output["pixel_values"]
    if isinstance(output, list | tuple):
        (output,) = output
    pixels = torch.as_tensor(output)
    if not pixels.is_floating_point():
        raise InputError(f"it returns {pixels.dtype}; expected floats")
    pixels = pixels.reshape(3, *pixels.shape[-2:])
    return pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].detach().cpu().double()


def _checked(mean: Channels, std: Channels, *, bgr: bool = False) -> Preprocessing:
    means, stds = _three(mean, "mean"), _three(std, "std")
    if not all(value > 0 for value in stds):
        raise InputError(f"std is {_text(stds)}; expected 3 numbers above 0")
    if max(map(abs, means)) > 2 and max(stds) > 1:
        raise InputError(
            f"mean is {_text(means)} and std {_text(stds)}; expected units of [0, 1]: divide both "
            "by 255"
        )
    return Preprocessing(means, stds, bgr)


def _three(values: Channels, name: str) -> tuple[float, float, float]:
    try:
        numbers = torch.as_tensor(
            values if isinstance(values, Tensor | int | float) else list(values)
        )
        found = [float(number) for number in numbers.flatten()]
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is {values!r}; expected 3 numbers") from None
    found = found * 3 if len(found) == 1 else found
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise InputError(f"{name} is {_text(found)}; expected 3 finite numbers, or one for all")
    return found[0], found[1], found[2]


def _text(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def _name(given: object) -> str:
    return str(getattr(given, "__name__", type(given).__name__))
