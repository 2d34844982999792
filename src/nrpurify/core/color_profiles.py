"""Color profiles (ICC) to sRGB, by LittleCMS in Pillow; broken ones are ignored with a note."""

from __future__ import annotations

import io
import logging
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image as PilImage

_MAX_PROFILE = 4 * 2**20
_CACHED_PROFILE = 2**20
"""Transforms of larger profiles are built for each image, so that the cache stays small."""
_NEAR = 2
"""Profiles that change no color by more than so many levels of 255 are taken for sRGB."""

_LOGGER = logging.getLogger(__name__)


class Transform:
    """From the colors of a profile to sRGB."""

    def __init__(self, profile: bytes, mode: str) -> None:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        self.mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space, space)
        if self.mode != mode and not (self.mode == "RGB" and mode == "L"):
            raise ValueError(f"it is of {space} colors, the image is {mode}")
        target = ImageCms.createProfile("sRGB")
        self._transform = ImageCms.buildTransform(source, target, self.mode, "RGB")

    def apply(self, picture: PilImage.Image) -> PilImage.Image:
        """An L, RGB or CMYK picture of the profile's colors as an RGB picture of sRGB's."""
        from PIL import ImageCms

        given = picture if picture.mode == self.mode else picture.convert(self.mode)
        found = ImageCms.applyTransform(given, self._transform)
        assert found is not None
        return found

    def is_identity(self) -> bool:
        """Whether the profile is sRGB, but for rounding."""
        if self.mode == "CMYK":
            return False
        ramp = np.linspace(0, 255, 16).round().astype(np.uint8)
        colors = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(64, 64, 3)
        given = PilImage.fromarray(colors)
        if self.mode == "L":
            given = given.getchannel(0)
        found = np.asarray(self.apply(given)).astype(int)
        return bool(np.abs(found - np.asarray(given.convert("RGB"))).max() <= _NEAR)


def transform_of(profile: bytes, mode: str, name: str) -> Transform | None:
    """What brings colors to sRGB; None for sRGB itself, or with a note for a broken profile.

    Args:
        profile: As the file has it.
        mode: Of the picture: L, RGB or CMYK.
        name: Of the file, for the note.
    """
    small = len(profile) <= _CACHED_PROFILE
    transform = _cached_transform(profile, mode) if small else _find_transform(profile, mode)
    if isinstance(transform, str):
        _warn_once(f"{name}: its color profile was ignored: {transform}")
        return None
    return transform


def _find_transform(profile: bytes, mode: str) -> Transform | str | None:
    """The transform, None for sRGB, or why there is none."""
    try:
        transform = Transform(profile, mode)
        return None if transform.is_identity() else transform
    except Exception as error:  # LittleCMS, which Pillow may lack, on broken profiles
        return str(error) or type(error).__name__


_cached_transform = lru_cache(maxsize=8)(_find_transform)


@lru_cache(maxsize=1000)
def _warn_once(message: str) -> None:
    _LOGGER.warning("%s", message)


def unpacked(chunk: bytes) -> bytes:
    """The profile of an iCCP chunk; something that is none where the chunk is damaged."""
    _, _, packed = chunk.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_PROFILE) or b"empty"
    except zlib.error:
        return b"damaged"
