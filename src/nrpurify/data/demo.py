"""The photographs of ``nrpurify demo``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from nrpurify.core.errors import MissingExtraError
from nrpurify.data.labels import LabeledImage


def foolbox_photos() -> list[LabeledImage]:
    """The 20 labeled ImageNet photographs that the foolbox package ships.

    Raises:
        MissingExtraError: foolbox is not installed.
    """
    found = importlib.util.find_spec("foolbox")
    if found is None or found.origin is None:
        raise MissingExtraError("foolbox", "demo")
    photos = Path(found.origin).parent.glob("data/imagenet_*.jpg")
    return [LabeledImage(path, int(path.stem.split("_")[-1])) for path in sorted(photos)]
