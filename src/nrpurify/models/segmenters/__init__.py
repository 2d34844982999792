"""Segmenters: images in [0, 1] go in, logits N×classes×H×W of the same size come out."""

from nrpurify.models.segmenters.registry import (
    CAMVID_CLASSES,
    as_segmenter,
    load_segmenter,
    segmenter_names,
)
from nrpurify.models.segmenters.segmenter import Segmenter, any_size, short_side, square

__all__ = [
    "CAMVID_CLASSES",
    "Segmenter",
    "any_size",
    "as_segmenter",
    "load_segmenter",
    "segmenter_names",
    "short_side",
    "square",
]
