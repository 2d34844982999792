"""Detectors: images of any sizes in [0, 1] go in, boxes in the images' own frames come out."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.models.detectors.boxes import Detections
    from nrpurify.models.detectors.categories import COCO_CATEGORIES, COCO_IDS
    from nrpurify.models.detectors.detector import Detector, Images
    from nrpurify.models.detectors.registry import detector_names, load_detector, register_detector
    from nrpurify.models.detectors.zoo import AnyDetector, as_detector

__all__ = [
    "COCO_CATEGORIES",
    "COCO_IDS",
    "AnyDetector",
    "Detections",
    "Detector",
    "Images",
    "as_detector",
    "detector_names",
    "load_detector",
    "register_detector",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.models.detectors.boxes": ("Detections",),
        "nrpurify.models.detectors.categories": ("COCO_CATEGORIES", "COCO_IDS"),
        "nrpurify.models.detectors.detector": ("Detector", "Images"),
        "nrpurify.models.detectors.registry": (
            "detector_names",
            "load_detector",
            "register_detector",
        ),
        "nrpurify.models.detectors.zoo": ("AnyDetector", "as_detector"),
    },
)
