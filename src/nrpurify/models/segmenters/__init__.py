"""Segmenters: images in [0, 1] go in, logits N×classes×H×W of the same size come out."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.models.segmenters.camvid import CAMVID_CLASSES
    from nrpurify.models.segmenters.load import load_segmenter
    from nrpurify.models.segmenters.registry import SEGMENTERS, register_segmenter
    from nrpurify.models.segmenters.segmenter import (
        Segmenter,
        any_size,
        as_segmenter,
        short_side,
        square,
    )

__all__ = [
    "CAMVID_CLASSES",
    "SEGMENTERS",
    "Segmenter",
    "any_size",
    "as_segmenter",
    "load_segmenter",
    "register_segmenter",
    "short_side",
    "square",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.models.segmenters.camvid": ("CAMVID_CLASSES",),
        "nrpurify.models.segmenters.load": ("load_segmenter",),
        "nrpurify.models.segmenters.registry": ("SEGMENTERS", "register_segmenter"),
        "nrpurify.models.segmenters.segmenter": (
            *("Segmenter", "any_size", "as_segmenter", "short_side", "square"),
        ),
    },
)
