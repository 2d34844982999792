"""Images at the border: files in, files out.

Inside the package images are float tensors N×3×H×W in [0, 1]; uint8 exists only in files.
"""

import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from nrpurify.core.decoding import decode, naming_broken, reason
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import atomic_path
from nrpurify.core.image_files import MAX_PIXELS
from nrpurify.core.opening import Frames, ImageSource


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image file, upright and in sRGB.

    Attributes:
        pixels: 3×H×W uint8, or float32 in [0, 1] where the file has more than 8 bits.
        opacity: 1×H×W of either type, or None when the file has no transparency.
        path: the file it was read from; of bytes, an empty path.

    """

    pixels: Tensor
    opacity: Tensor | None
    path: Path

    @property
    def rgb(self) -> Tensor:
        """3×H×W float32 in [0, 1]."""
        return as_floats(self.pixels)

    @property
    def alpha(self) -> Tensor | None:
        """1×H×W float32 in [0, 1], or None when the file has no transparency."""
        return None if self.opacity is None else as_floats(self.opacity)


def read_image(
    path: ImageSource, *, max_pixels: int = MAX_PIXELS, frames: Frames = "refuse"
) -> Image:
    """Read a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000, AVIF or HEIC file, or its content.

    AVIF needs Pillow 11.3, HEIC the package pillow-heif. Gray, palette and CMYK images become
    RGB; 16 bits are kept, those of color in PNG and TIFF only; color profiles are converted to
    sRGB, broken ones ignored and named in the log; the EXIF orientation is applied. `max_pixels`
    (H·W) is compared with the header before any pixel is decoded. Pillow keeps its own hard limit
    of twice ``PIL.Image.MAX_IMAGE_PIXELS``; between one and two times that value only `max_pixels`
    decides, and its warning is left out (Pillow 13 has it still as it decodes TIFF files).
    `frames` decides what becomes of animations and of files with several pages: ``refuse``, or
    read the ``first``.

    Raises:
        ImageError: the file is missing, broken, truncated, too large, animated or not an image.

    """
    with naming_broken(path):
        color, opacity = decode(path, max_pixels=max_pixels, frames=frames)
        pixels = torch.from_numpy(np.array(color.transpose(2, 0, 1), order="C"))
        alpha = None if opacity is None else torch.from_numpy(np.array(opacity, order="C"))[None]
    return Image(pixels, alpha, Path() if isinstance(path, bytes) else Path(path))


def as_floats(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels that are uint8, or floats in [0, 1] already, as floats in [0, 1]."""
    return (from_uint8(pixels) if pixels.dtype == torch.uint8 else pixels).to(dtype)


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


OUTPUT_SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
"""The formats that are written, with their usual suffixes."""

_WRITERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "lossless": True, "exact": True},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}


def write_png(path: str | Path, rgb: Tensor, alpha: Tensor | None = None) -> None:
    """Write an 8-bit PNG, see :func:`write_image`."""
    write_image(path, rgb, alpha)


def write_image(
    path: str | Path, rgb: Tensor, alpha: Tensor | None = None, *, format: str = "png"
) -> None:
    """Write an 8-bit image file atomically, creating parent folders.

    `rgb` is 3×H×W and `alpha`, if given, 1×H×W, both uint8 or both float in [0, 1]; floats are
    rounded, and those outside clamped. `format` is png, webp (lossless) or jpeg (quality 95,
    without `alpha`).

    Raises:
        InputError: a shape is wrong, or values are not floats or not finite.
        ImageError: the file cannot be written.

    """
    picture = _picture(str(path), rgb, alpha, format)
    try:
        with atomic_path(path) as temporary:
            picture.save(temporary, **_WRITERS[format])
    except (OSError, ValueError) as error:  # ValueError: too large for the format
        raise ImageError(f"cannot write {str(path)!r}: {reason(error)}") from error


def encode_png(rgb: Tensor, alpha: Tensor | None = None) -> bytes:
    """An 8-bit PNG file's content; the arguments are those of :func:`write_image`.

    Raises:
        InputError: as :func:`write_image`.

    """
    return encode_image(rgb, alpha)


def encode_image(rgb: Tensor, alpha: Tensor | None = None, *, format: str = "png") -> bytes:
    """What :func:`write_image` would write.

    Raises:
        InputError: as :func:`write_image`.
        ImageError: the image is too large for the format.

    """
    content = io.BytesIO()
    try:
        _picture("the image", rgb, alpha, format).save(content, **_WRITERS[format])
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise ImageError(f"cannot encode the image: {reason(error)}") from error
    return content.getvalue()


def _picture(name: str, rgb: Tensor, alpha: Tensor | None, format: str) -> PilImage.Image:
    _check_png(name, rgb, alpha)
    return to_picture(rgb if alpha is None or format == "jpeg" else torch.cat([rgb, alpha.to(rgb)]))


def _check_png(path: str, rgb: Tensor, alpha: Tensor | None) -> None:
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.numel() == 0:
        raise InputError(f"{path!r}: rgb has shape {tuple(rgb.shape)}; expected 3×H×W")
    if alpha is not None and alpha.shape != (1, *rgb.shape[1:]):
        raise InputError(
            f"{path!r}: alpha has shape {tuple(alpha.shape)}; expected {(1, *rgb.shape[1:])}"
        )
    for name, values in (("rgb", rgb), ("alpha", alpha)):
        if values is None or values.dtype == torch.uint8 == rgb.dtype:
            continue
        if not (values.is_floating_point() and values.isfinite().all()):
            raise InputError(
                f"{path!r}: {name} is {values.dtype} or holds NaN or infinite values; expected "
                "finite floats in [0, 1], or uint8 of both"
            )


def to_picture(image: Tensor) -> PilImage.Image:
    """Turn a 3×H×W or 4×H×W tensor, uint8 or floats in [0, 1], into an 8-bit Pillow image."""
    pixels = image if image.dtype == torch.uint8 else to_uint8(image)
    return PilImage.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def shorter_side(paths: Sequence[str | Path]) -> int:
    """The shorter side of the smallest image, from the files' headers; of none, a large number.

    Files whose header cannot be read do not count.
    """
    sides = [sys.maxsize]
    for path in paths:
        with suppress(Exception), PilImage.open(path) as picture:  # decoders raise nearly anything
            sides.append(min(picture.size))
    return min(sides)


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
    picture = to_picture(read_image(path).pixels)
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
    cut = np.array(picture.crop((left, top, left + size, top + size)))
    return from_uint8(torch.from_numpy(cut).permute(2, 0, 1).contiguous())
