"""The templates, and how numbers, pictures and specs are written in them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

from nrpurify.core.errors import MissingExtraError
from nrpurify.results.budget import Budget

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from PIL.Image import Image
    from torch import Tensor


def environment() -> Environment:
    """Jinja2 with this package's templates, escaping on, undefined names an error.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("jinja2", "report") from error
    return _environment()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("nrpurify.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": percent,
        "eps": eps_text,
        "image_uri": image_uri,
        "heat": heat,
        "breakable": _breakable,
        "capitalized": _capitalized,
    }
    return made


def percent(fraction: float, digits: int = 0) -> str:
    """0.853 as ``85%``."""
    return f"{100 * fraction:.{digits}f}%"


def eps_text(eps: float | str) -> str:
    """A distance in units of [0, 1] in 255ths, as ``16/255``; text stays as it is."""
    return eps if isinstance(eps, str) else Budget(eps).text()


def image_uri(image: Tensor | Image, quality: int | None = None) -> str:
    """A picture, or a 3×H×W image in [0, 1], as a data URI: WebP, by default lossless."""
    picture = image if hasattr(image, "save") else _picture(image)
    buffer = BytesIO()
    kind = {"lossless": True} if quality is None else {"quality": quality}
    picture.save(buffer, format="WEBP", method=4, **kind)
    return data_uri("image/webp", buffer.getvalue())


def _picture(image: Tensor) -> Image:
    """The picture of a tensor; torch is loaded where a page is made of tensors only."""
    from nrpurify.core.images import to_picture

    return to_picture(image)


def data_uri(kind: str, data: bytes) -> str:
    """Bytes of a media type as a data URI."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def to_json(obj: object) -> str:
    """Indented JSON."""
    return json.dumps(obj, indent=2, ensure_ascii=False)


def heat(fraction: float) -> Markup:
    """Attributes that color a cell: away from 50 %, blue for more and orange for less."""
    from markupsafe import Markup

    side = "more" if fraction >= 0.5 else "less"
    return Markup('data-heat="{}" style="--a: {:.2f}"').format(side, abs(2 * fraction - 1))


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:] if text[1:2].islower() else text


def _breakable(spec: str) -> Markup:
    """A name or spec that may be broken over lines behind its separators."""
    from markupsafe import Markup, escape

    parted = re.sub(r"[,:+]|_(?=\w{3})", lambda mark: f"{mark[0]}\0", spec)
    return Markup(str(escape(parted)).replace("\0", "<wbr>"))
