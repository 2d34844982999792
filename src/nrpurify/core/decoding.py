"""Image files to pixels: bit depths, transparency, color profiles, orientation.

Pillow decodes. This module adds what Pillow leaves out: 16 bits of color, transparent colors of
every bit depth, WhiteIsZero TIFFs beyond 8 bits, and color profiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from nrpurify.core.color_profiles import transform_of, unpacked
from nrpurify.core.errors import ImageError
from nrpurify.core.image_files import HEIF_SUFFIXES, MAX_PIXELS
from nrpurify.core.opening import (
    PACKED,
    Frames,
    ImageSource,
    formats,
    has_heif,
    open_picture,
    source_name,
)

_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0

Array = npt.NDArray[Any]


def decode(
    path: ImageSource, *, max_pixels: int = MAX_PIXELS, frames: Frames = "refuse"
) -> tuple[Array, Array | None]:
    """Decode a file, or its content, upright and in sRGB.

    Returns:
        H×W×3 color and H×W opacity (None without transparency): uint8, or float32 in [0, 1] where
        the file has more than 8 bits.

    Raises:
        ImageError: As :func:`open_picture`.
        Exception: On broken data, decoders raise nearly anything.
    """
    with open_picture(path, max_pixels=max_pixels, frames=frames) as picture:
        raw = raw_mode(picture)
        picture.load()
        color, alpha = _pixels(picture, raw, path, max_pixels)
        turn = _orientation(picture)
    return _upright(color, turn), None if alpha is None else _upright(alpha, turn)


@contextmanager
def naming_broken(path: ImageSource) -> Iterator[None]:
    """Turn whatever decoders raise on broken data into an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # on broken data, decoders raise nearly anything
        raise ImageError(f"cannot read {source_name(path)}: {reason(error, path)}") from error


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> PilImage.Image:
    """Read an image file as an 8-bit RGB picture, upright and without transparency.

    Raises:
        ImageError: It is missing, broken, too large, animated or not an image.
    """
    with naming_broken(path):
        color, _ = decode(path, max_pixels=max_pixels)
        eight = color if color.dtype == np.uint8 else np.rint(color * 255).astype(np.uint8)
        return PilImage.fromarray(np.ascontiguousarray(eight))


def reason(error: Exception, path: ImageSource = b"") -> str:
    """What went wrong with an image file, for people."""
    if isinstance(error, UnidentifiedImageError):
        suffix = "" if isinstance(path, bytes) else Path(path).suffix.lower()
        if suffix in HEIF_SUFFIXES and not has_heif():
            return "HEIC needs the package pillow-heif; install it with pip"
        return f"not an image, or a broken one; expected one of {', '.join(formats())}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def raw_mode(picture: PilImage.Image) -> str:
    """How Pillow calls the file's pixels (``L;4``, ``RGB;16B``); empty where it does not say.

    To be read before the picture is loaded.
    """
    tiles = getattr(picture, "tile", None)
    args = tiles[0][3] if tiles else ""
    first = args if isinstance(args, str) else next(iter(args or ()), "")
    return first if isinstance(first, str) else ""


def _pixels(
    picture: PilImage.Image, raw: str, path: ImageSource, max_pixels: int
) -> tuple[Array, Array | None]:
    packed = picture.info.get(PACKED)
    profile = picture.info.get("icc_profile") if packed is None else unpacked(packed)
    if picture.mode.startswith(("I", "F")):
        color, alpha = _deep_gray(picture)
    elif ";16" in raw and picture.format in ("PNG", "TIFF") and "a" not in raw:
        color, alpha = _deep_color(picture, raw, path, max_pixels)
    else:
        return _shallow(picture, raw, profile, path)
    if profile:  # Pillow's LittleCMS converts 8 bits only
        levels = np.rint(color * 255).astype(np.uint8)
        shallow = PilImage.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
        if transform := transform_of(profile, shallow.mode, source_name(path)):
            alpha = None if alpha is None else np.rint(alpha * 255).astype(np.uint8)
            return np.asarray(transform.apply(shallow)), alpha
    return np.broadcast_to(color, (*color.shape[:2], 3)), alpha


def _shallow(
    picture: PilImage.Image, raw: str, profile: bytes | None, path: ImageSource
) -> tuple[Array, Array | None]:
    alpha = _opacity(picture, raw)
    if picture.mode in ("1", "L", "LA"):
        color = picture.getchannel(0).convert("L")
    elif picture.mode == "CMYK" and profile:
        color = picture
    else:
        color = picture.convert("RGBA" if alpha is not None else "RGB").convert("RGB")
    transform = transform_of(profile, color.mode, source_name(path)) if profile else None
    if transform is not None:
        return np.asarray(transform.apply(color)), alpha
    return np.asarray(color.convert("RGB")), alpha


def _opacity(picture: PilImage.Image, raw: str) -> Array | None:
    if picture.mode in ("1", "L", "RGB") and "transparency" in picture.info:
        key = picture.info["transparency"]
        if picture.format == "PNG":
            key = _of_8_bits(key, raw)
        values = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
        return np.where(_matches(values, key), np.uint8(0), np.uint8(255))
    if picture.has_transparency_data:
        return np.asarray(picture.convert("RGBA").getchannel("A"))
    return None


def _of_8_bits(key: Any, raw: str) -> Any:
    """A PNG's transparent color, which counts in the file's bits, as Pillow scales pixels."""
    if isinstance(key, tuple):
        return tuple(value & 255 for value in key)
    most = {"1": 1, "L;2": 3, "L;4": 15}.get(raw, 255)
    return (key & most) * (255 // most)


def _matches(values: Array, key: Any) -> Array:
    if values.ndim == 2:
        return values == key  # type: ignore[no-any-return]
    same: Array = (values == np.asarray(key)).all(-1)
    return same


def _deep_gray(picture: PilImage.Image) -> tuple[Array, Array | None]:
    """H×W×1 gray of 16-bit, 32-bit or floating-point values, and opacity."""
    numbers = np.asarray(picture)
    values = numbers.astype(np.float32)
    tags = getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if picture.mode != "F":
        values /= 2 ** min(*tags.get(_BITS, (16,)), 16) - 1
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            "its 32-bit pixels go beyond [0, 65535] (integer) or [0, 1] (float); "
            "save it with 8 or 16 bits"
        )
    key = picture.info.get("transparency") if picture.format == "PNG" else None
    alpha = None if key is None else (numbers != key).astype(np.float32)
    return (1 - values if inverted else values)[..., None], alpha


def _deep_color(
    picture: PilImage.Image, raw: str, path: ImageSource, max_pixels: int
) -> tuple[Array, Array | None]:
    """H×W×3 (or ×1) color of 16 bits, of which Pillow keeps the high bytes, and opacity."""
    if raw == "LA;16B":
        with open_picture(path, max_pixels=max_pixels, frames="first") as both:
            both._mode = "RGBA"  # four bytes a pixel: gray and alpha, high and low
            _decode_as(both, "RGBA")
            bytes_ = np.asarray(both)
        high, low = bytes_[..., 0::2], bytes_[..., 1::2]
    else:
        with open_picture(path, max_pixels=max_pixels, frames="first") as other:
            _decode_as(other, raw[:-1] + _other_end(raw[-1]))
            high, low = np.asarray(picture), np.asarray(other)
    if picture.mode == "CMYK":
        return _deep_ink(high, low), None
    values = high * np.uint16(256) + low
    key = picture.info.get("transparency") if picture.format == "PNG" else None
    channels = values.shape[2]
    deep = values.astype(np.float32) / 65535
    if channels in (2, 4):
        return deep[..., :-1], deep[..., -1]
    return deep, None if key is None else (~_matches(values, key)).astype(np.float32)


def _deep_ink(high: Array, low: Array) -> Array:
    ink = (high * np.uint16(256) + low).astype(np.float32) / 65535
    light: Array = (1 - ink[..., :3]) * (1 - ink[..., 3:])
    return light


def _other_end(order: str) -> str:
    """The byte order by which Pillow finds the low bytes: of native order (N), the other."""
    native_is_little = np.little_endian
    return {"B": "L", "L": "B", "N": "B" if native_is_little else "L"}[order]


def _decode_as(picture: PilImage.Image, raw: str) -> None:
    tiles: Any = picture.tile  # type: ignore[attr-defined]
    picture.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in tiles
    ]
    picture.load()


def _orientation(picture: PilImage.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where EXIF is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is parsed in Python, with the errors of struct, list, dict
        return 1


def is_sideways(picture: PilImage.Image) -> bool:
    """Whether width and height change places when an opened picture is turned upright."""
    return 5 <= _orientation(picture) <= 8


def _upright(pixels: Array, turn: int) -> Array:
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
