"""Image files opened by Pillow: formats, limits, PNGs whose text or EXIF is damaged or large."""

from __future__ import annotations

import importlib
import importlib.util
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from nrpurify.core.errors import ImageError
from nrpurify.core.image_files import MAX_PIXELS

Frames = Literal["refuse", "first"]
"""What becomes of files with several frames or pages: an error, or the first one is read."""

PACKED = "packed_icc_profile"
"""Under this name an opened PNG has its iCCP chunk; it is unpacked with the pixels."""
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "GIF": "GifImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}


def has_heif() -> bool:
    """Whether the Pillow plug-in for HEIC files is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded here; no other one is ever tried.

    HEIF is among them where pillow-heif is installed, AVIF and JPEG 2000 where Pillow has them.
    """
    found = []
    for name, module in _PLUGINS.items():
        if importlib.util.find_spec(f"PIL.{module}"):
            importlib.import_module(f"PIL.{module}")
            found.append(name)
    if has_heif():
        importlib.import_module("pillow_heif").register_heif_opener()
        found.append("HEIF")
    return tuple(found)


ImageSource = str | Path | bytes
"""An image file's path, or its content."""


def source_name(source: ImageSource) -> str:
    """What errors call an image: its quoted path, or ``the image`` for bytes."""
    return "the image" if isinstance(source, bytes) else repr(str(source))


def set_pixel_limit(max_pixels: int) -> None:
    """Raise Pillow's own limit, a global of the process, to ``max_pixels``; never lower it."""
    if PilImage.MAX_IMAGE_PIXELS is not None:
        PilImage.MAX_IMAGE_PIXELS = max(max_pixels, PilImage.MAX_IMAGE_PIXELS)


@contextmanager
def open_picture(
    path: ImageSource, *, max_pixels: int = MAX_PIXELS, frames: Frames = "refuse"
) -> Iterator[PilImage.Image]:
    """Open a file, or its content, with Pillow; its header is checked and no pixel is decoded yet.

    Of PNGs, Pillow gets the chunks that decide pixels: neither text nor a damaged EXIF chunk.

    Raises:
        ImageError: More pixels than ``max_pixels``, or several frames that are refused.
        OSError: The file is missing, broken or no image. Decoders raise other errors too.
    """
    with _opened(path) as file:
        stream, packed = _without_text(file)
        with identify(stream) as picture:
            if packed is not None:
                picture.info[PACKED] = packed
            _check_header(picture, path, max_pixels, frames)
            yield picture


def identify(file: BinaryIO) -> PilImage.Image:
    """What ``PIL.Image.open`` does, for :func:`formats`, without its warning of many pixels.

    Only for all threads at once could that warning be silenced. Of TIFF files Pillow 13 has it
    later too, when it decodes them.

    Raises:
        DecompressionBombError: More than twice ``PIL.Image.MAX_IMAGE_PIXELS``.
        UnidentifiedImageError: A broken file, or none of these formats. Decoders raise other
            errors too.
    """
    start = file.read(16)
    for name in formats():
        factory, accept = PilImage.OPEN[name]
        accepted = accept is None or accept(start)
        if not accepted or isinstance(accepted, str):  # a text says what Pillow was built without
            continue
        file.seek(0)
        try:
            picture = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # so Pillow's formats say no
            continue
        _check_hard_limit(picture)
        return picture
    raise UnidentifiedImageError("cannot identify the image file")


def _check_hard_limit(picture: PilImage.Image) -> None:
    limit, pixels = PilImage.MAX_IMAGE_PIXELS, picture.width * picture.height
    if limit is not None and pixels > 2 * limit:
        raise PilImage.DecompressionBombError(
            f"{picture.width}×{picture.height} = {pixels:,} pixels are more than Pillow's limit of "
            f"{2 * limit:,}; shrink it, or raise the limit (--max-pixels, in Python "
            "PIL.Image.MAX_IMAGE_PIXELS, which is half of it)"
        )


def _opened(source: ImageSource) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _check_header(
    picture: PilImage.Image, path: ImageSource, max_pixels: int, frames: Frames
) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(
            f"cannot read {source_name(path)}: {width}×{height} = {width * height:,} pixels are "
            f"more than the limit of {max_pixels:,}; shrink it or raise the limit "
            "(--max-pixels, max_pixels=)"
        )
    still = picture.format == "MPO"  # a JPEG photo followed by previews or depth maps
    if frames == "refuse" and not still and getattr(picture, "is_animated", False):
        raise ImageError(
            f"cannot read {source_name(path)}: it has several frames or pages, expected one; save "
            "the one that you want as an image of its own, or take the first (--frames first, "
            "frames='first')"
        )


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf")


def _without_text(file: BinaryIO) -> tuple[BinaryIO, bytes | None]:
    """A PNG without text and damaged EXIF, and its iCCP chunk apart; other files as they are."""
    if file.read(8) != _SIGNATURE:
        file.seek(0)
        return file, None
    kept, packed = io.BytesIO(), None
    kept.write(_SIGNATURE)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind[0] & 32 and kind not in (*_KEPT, b"iCCP"):  # ancillary, says nothing of pixels
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body = file.read(length + 4)
        if kind == b"iCCP":
            packed = body[:length]
        elif kind != b"eXIf" or body[length:] == struct.pack(">I", zlib.crc32(kind + body[:-4])):
            kept.write(head + body)
        if kind == b"IEND":
            break
    kept.seek(0)
    return kept, packed
