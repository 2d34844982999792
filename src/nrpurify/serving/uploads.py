"""An uploaded image: read within limits, kept in memory only, decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from PIL.Image import DecompressionBombError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from nrpurify.core.decoding import reason
from nrpurify.core.errors import ImageError
from nrpurify.core.images import Image, read_image
from nrpurify.core.opening import open_picture
from nrpurify.serving.problems import BusyError, ClientGoneError, RequestError
from nrpurify.serving.settings import ServeSettings

FIELD = "image"
"""The field of a form that holds the image."""
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/avif")
"""What an upload may hold."""
_EXPECTED = f"expected one of {', '.join(MEDIA_TYPES)}"
_SHOWN, _LONGEST = 60, 200
"""Characters of a client's own text, and of a decoder's, that an answer repeats."""
_ANY = 2**62


class _MemoryParser(MultiPartParser):
    spool_max_size = _ANY  # never to a temporary file: no image is kept on disk


class Memory:
    """The bytes of all uploads together.

    Args:
        limit: Most bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def take(self, count: int) -> None:
        """Add bytes.

        Raises:
            BusyError: They are too many.
        """
        if self.used + count > self.limit:
            raise BusyError("too many uploads are in memory", 2)
        self.used += count


@asynccontextmanager
async def uploaded_image(
    request: Request, settings: ServeSettings, memory: Memory
) -> AsyncGenerator[bytes, None]:
    """The image file of a request; its memory is given back at the end of the block.

    Raises:
        RequestError: 408, 413, 415, 422 or 503.
        ClientGoneError: The client closed the connection.
    """
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in ("multipart/form-data", "application/octet-stream", *MEDIA_TYPES):
        raise RequestError(
            415,
            f"the content type is {kind[:_SHOWN]!r}; {_EXPECTED}, or multipart/form-data with the "
            f"image in the field {FIELD!r}",
            close=True,
        )
    taken = 0

    def take(count: int) -> None:
        nonlocal taken
        memory.take(count)
        taken += count

    try:
        content = await _body(request, settings, take)
        if kind.startswith("multipart"):
            content = await _field(request.headers, content)
        if _kind_of(content) is None:
            raise RequestError(415, _not_an_image(content))
        yield content
    finally:
        memory.used -= taken


async def _body(request: Request, settings: ServeSettings, take: Callable[[int], None]) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.max_bytes:
        raise _too_large(int(length), settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.upload_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > settings.max_bytes:
                    raise _too_large(len(body) + len(chunk), settings)
                take(len(chunk))
                body += chunk
    except TimeoutError:
        raise RequestError(
            408,
            f"only {len(body):,} bytes came in {settings.upload_seconds:g} s; send the image "
            "faster, or a smaller one",
            close=True,
        ) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    return bytes(body)


def _too_large(count: int, settings: ServeSettings) -> RequestError:
    return RequestError(
        413,
        f"the upload has {count:,} bytes or more; the limit is {settings.max_bytes:,}: send a "
        "smaller or more strongly compressed image",
        close=True,
    )


async def _field(headers: Headers, body: bytes) -> bytes:
    """The content of the one file of a form."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _MemoryParser(headers, stream(), max_files=1, max_fields=0).parse()
    except (MultiPartException, ValueError, KeyError, LookupError) as error:
        reason = str(getattr(error, "message", error))[:_SHOWN]
        raise RequestError(
            422,
            f"the form cannot be read ({reason}); expected one file in the field {FIELD!r} and "
            "nothing else: settings go into the query, as in /v1/purify?purifier=fast",
        ) from None
    found = form.get(FIELD)
    try:
        if not isinstance(found, UploadFile):
            raise RequestError(
                422, f"the form has no file in the field {FIELD!r}; send the image under that name"
            )
        return await found.read()
    finally:
        await form.close()


def _kind_of(content: bytes) -> str | None:
    """The media type by the first bytes; None for one that is not taken."""
    starts = {
        b"\x89PNG\r\n\x1a\n": "image/png",
        b"\xff\xd8\xff": "image/jpeg",
        b"GIF87a": "image/gif",
        b"GIF89a": "image/gif",
        b"BM": "image/bmp",
    }
    for start, kind in starts.items():
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:8] == b"ftyp" and content[8:12] in (b"avif", b"avis"):
        return "image/avif"
    return None


def _not_an_image(content: bytes) -> str:
    if not content:
        return f"the upload is empty; {_EXPECTED}"
    return f"the upload begins like none of the image types that are taken; {_EXPECTED}"


def image_pixels(content: bytes, max_pixels: int) -> int:
    """Height × width of an upload, from its header; no pixel is decoded.

    Raises:
        RequestError: 413 for more than ``max_pixels``, 422 for a broken header.
    """
    width, height = _size(content, max_pixels)
    if width * height > max_pixels:
        raise _too_many_pixels(f"{width}×{height} = {width * height:,}", max_pixels)
    return width * height


def decode_image(content: bytes, max_pixels: int) -> Image:
    """Decode an upload; the size in its header is checked before a pixel is decoded.

    Raises:
        RequestError: 413 for too many pixels, 422 for a broken image or several frames.
    """
    image_pixels(content, max_pixels)
    try:
        return read_image(content, max_pixels=max_pixels)
    except ImageError as error:
        raise _broken(str(error).removeprefix("cannot read the image: ")) from error


def _size(content: bytes, max_pixels: int) -> tuple[int, int]:
    try:
        with open_picture(content, max_pixels=_ANY, frames="first") as picture:
            return picture.size
    except DecompressionBombError:
        raise _too_many_pixels("far", max_pixels) from None
    except Exception as error:  # on broken data, decoders raise nearly anything
        raise _broken(reason(error)) from error


def _too_many_pixels(count: str, limit: int) -> RequestError:
    return RequestError(
        413, f"the image has {count} pixels; the limit is {limit:,}: send a smaller one"
    )


def _broken(why: str) -> RequestError:
    short = why.partition(" (--")[0].partition(", or take the first")[0][:_LONGEST]
    return RequestError(422, f"the image cannot be read: {short}; send a whole, still image")
