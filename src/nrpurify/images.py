"""Images at the border: files in, files out, and the check of what lies between.

Inside the package images are float tensors N×3×H×W in [0, 1]; uint8 exists only in files.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from nrpurify.errors import ImageError, InputError
from nrpurify.files import atomic_path

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The file formats that are decoded; nothing else that Pillow knows is ever tried."""

MAX_PIXELS = 200_000_000
"""More pixels are neither read, unless that is asked for, nor made by resizing."""

_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image file.

    Attributes:
        rgb: 3×H×W float32 in [0, 1], upright.
        alpha: 1×H×W float32 in [0, 1], or None when the file has no transparency.
        path: the file it was read from.

    """

    rgb: Tensor
    alpha: Tensor | None
    path: Path


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame) file.

    Grey, palette, CMYK and 16-bit grey images become RGB; the EXIF orientation is applied.
    `max_pixels` (H·W) is compared with the header before any pixel is decoded. Pillow keeps its
    own hard limit of twice ``PIL.Image.MAX_IMAGE_PIXELS``; between one and two times that value
    only `max_pixels` decides, so its warning is silenced.

    Raises:
        ImageError: the file is missing, broken, truncated, too large or not an image.

    """
    path = Path(path)
    try:
        picture = _decode(path, max_pixels)
        rgb, alpha = _to_tensors(picture)
    except ImageError:
        raise
    except Exception as error:  # on broken data, decoders raise nearly anything
        raise ImageError(f"cannot read {str(path)!r}: {_reason(error)}") from error
    return Image(rgb, alpha, path)


def _decode(path: Path, max_pixels: int) -> PilImage.Image:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore", PilImage.DecompressionBombWarning)
        with PilImage.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise ImageError(
                    f"cannot read {str(path)!r}: {width}×{height} = {width * height:,} pixels are "
                    f"more than the limit of {max_pixels:,}; shrink it or raise max_pixels"
                )
            return ImageOps.exif_transpose(picture)


def _to_tensors(picture: PilImage.Image) -> tuple[Tensor, Tensor | None]:
    if picture.mode.startswith(("I", "F")):
        return _deep_grey(picture).repeat(3, 1, 1), None
    if picture.has_transparency_data:
        rgba = _to_tensor(picture.convert("RGBA"))
        return rgba[:3], rgba[3:]
    return _to_tensor(picture.convert("RGB")), None


def _to_tensor(picture: PilImage.Image) -> Tensor:
    return from_uint8(torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous())


def _deep_grey(picture: PilImage.Image) -> Tensor:
    values = np.array(picture).astype(np.float32)
    if picture.mode != "F":
        values /= 65535
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            "its 32-bit pixels go beyond [0, 65535] (integer) or [0, 1] (float); "
            "save it with 8 or 16 bits"
        )
    return torch.from_numpy(values)[None]


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or a broken one; expected one of {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def to_uint8(images: Tensor) -> Tensor:
    """Turn floats in [0, 1] (any shape) into uint8 by rounding; values outside are clamped."""
    return images.detach().float().mul(255).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Turn uint8 values (any shape) into float32 in [0, 1].

    Raises:
        InputError: `images` is not uint8.

    """
    if images.dtype != torch.uint8:
        raise InputError(f"expected a uint8 tensor, got {images.dtype}; floats need no conversion")
    return images.float().div_(255)


def write_png(path: str | Path, rgb: Tensor, alpha: Tensor | None = None) -> None:
    """Write an 8-bit PNG atomically, creating parent folders.

    `rgb` is 3×H×W and `alpha`, if given, 1×H×W, both float in [0, 1]; values are rounded, and
    those outside clamped.

    Raises:
        InputError: a shape is wrong, or values are not floats or not finite.
        ImageError: the file cannot be written.

    """
    _check_png(str(path), rgb, alpha)
    picture = to_picture(rgb if alpha is None else torch.cat([rgb, alpha.to(rgb)]))
    try:
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise ImageError(f"cannot write {str(path)!r}: {_reason(error)}") from error


def _check_png(path: str, rgb: Tensor, alpha: Tensor | None) -> None:
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.numel() == 0:
        raise InputError(f"{path!r}: rgb has shape {tuple(rgb.shape)}; expected 3×H×W")
    if alpha is not None and alpha.shape != (1, *rgb.shape[1:]):
        raise InputError(
            f"{path!r}: alpha has shape {tuple(alpha.shape)}; expected {(1, *rgb.shape[1:])}"
        )
    for name, values in (("rgb", rgb), ("alpha", alpha)):
        if values is not None and not (values.is_floating_point() and values.isfinite().all()):
            raise InputError(
                f"{path!r}: {name} is {values.dtype} or holds NaN or infinite values; expected "
                "finite floats in [0, 1]: divide uint8 by 255"
            )


def to_picture(image: Tensor) -> PilImage.Image:
    """Turn a 3×H×W or 4×H×W float tensor in [0, 1] into an 8-bit Pillow image."""
    return PilImage.fromarray(to_uint8(image).permute(1, 2, 0).contiguous().cpu().numpy())


def check_images(images: Tensor, name: str = "images") -> None:
    """Check that `images` is N×3×H×W, N ≥ 1, floating point, finite and in [0, 1] (± 1e-6).

    Raises:
        InputError: it is not; the message says what was given and what to do.

    """
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise InputError(
            f"{name} has shape {tuple(images.shape)}; expected N×3×H×W with at least one image"
            f"{' (add a batch dimension with [None])' if images.ndim == 3 else ''}"
        )
    if not images.is_floating_point():
        raise InputError(f"{name} is {images.dtype}; expected floats: divide uint8 by 255")
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise InputError(
            f"{name} (shape {tuple(images.shape)}) has values from {low:.6g} to {high:.6g}; "
            f"expected [0, 1]: {_range_advice(low, high)}"
        )


def _range_advice(low: float, high: float) -> str:
    if not np.isfinite([low, high]).all():
        return "remove NaN and infinite values"
    if low >= -_TOLERANCE and high > 2:
        return "divide uint8 values by 255"
    return "leave out mean/std normalization, which belongs inside the model, or clamp to [0, 1]"


def load_batch(paths: Sequence[str | Path], size: int, *, crop: bool) -> Tensor:
    """Read photographs for evaluation as one batch N×3×size×size in [0, 1].

    With `crop`, the short side is resized to `size` and the center kept (what torchvision's
    ``Resize`` and ``CenterCrop`` give); without, the whole image is resized to a square. Resizing
    is Pillow's antialiased bicubic on 8-bit values. Transparency is dropped.

    Raises:
        InputError: `paths` is empty or `size` is below 1.
        ImageError: a file cannot be read, or is so long and thin that before the crop it would
            have more than :data:`MAX_PIXELS`.

    """
    if not paths or size < 1:
        raise InputError(f"expected at least one path and a size ≥ 1, got {len(paths)} and {size}")
    return torch.stack([_load_square(path, size, crop) for path in paths])


def _load_square(path: str | Path, size: int, crop: bool) -> Tensor:
    picture = to_picture(read_image(path).rgb)
    width, height = picture.size
    short = min(width, height) if crop else 0
    target = (size * width // short, size * height // short) if crop else (size, size)
    if crop and target[0] * target[1] > MAX_PIXELS:
        raise ImageError(
            f"cannot resize {str(path)!r}: its {width}×{height} pixels would become "
            f"{target[0]}×{target[1]}, more than the limit of {MAX_PIXELS:,}; crop it, or ask for "
            f"a size below {size}"
        )
    picture = picture.resize(target, PilImage.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) for side in target)
    return _to_tensor(picture.crop((left, top, left + size, top + size)))
