"""What a model sees in an image, as a picture and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.models.detectors.boxes import Detections
from nrpurify.models.detectors.categories import COCO_CATEGORIES
from nrpurify.models.segmenters import Segmenter
from nrpurify.tasks.detection import DetectorCall
from nrpurify.tasks.drawing import fitted, with_boxes, with_classes, with_masks

SURE = 0.5
"""Least score of a detection that is drawn, and least value of a pixel in its mask."""
Look = Callable[[Tensor], tuple[Tensor, str]]
"""Maps a 3×H×W image in [0, 1] to a picture of what a model sees in it, 3×h×w, and a caption."""


def category(label: int) -> str:
    """The name of a COCO category id, or the id itself where there is none."""
    return COCO_CATEGORIES.get(label, str(label))


def counted(labels: Iterable[int]) -> str:
    """Category ids in words, such as ``2 person, 1 dog``; ``nothing`` without any."""
    found = Counter(category(label) for label in labels)
    return ", ".join(f"{number} {name}" for name, number in found.items()) or "nothing"


def detector_look(detector: DetectorCall, sure: float = SURE) -> Look:
    """Boxes (and masks) with names and scores, of detections with a score of at least ``sure``."""

    @torch.no_grad()
    def look(image: Tensor) -> tuple[Tensor, str]:
        found = detector([image])[0]
        kept = found["scores"] >= sure
        chosen = {key: values[kept].cpu() for key, values in found.items()}
        return _drawn(image, chosen), counted(chosen["labels"].tolist())

    return look


def _drawn(image: Tensor, found: Detections) -> Tensor:
    picture, labels = fitted(image), found["labels"].tolist()
    if "masks" in found and labels:
        grown = F.interpolate(found["masks"].float(), picture.shape[-2:], mode="nearest-exact")
        picture = with_masks(picture, grown[:, 0] >= SURE, labels)
    boxes = found["boxes"] * (picture.shape[-1] / image.shape[-1])
    scores = found["scores"].tolist()
    texts = [f"{category(k)} {score:.2f}" for k, score in zip(labels, scores, strict=True)]
    return with_boxes(picture, boxes, texts, labels)


def segmenter_look(segmenter: Segmenter) -> Look:
    """The image tinted by the class of each pixel, and the three largest classes."""

    @torch.no_grad()
    def look(image: Tensor) -> tuple[Tensor, str]:
        classes = segmenter(image[None])[0].argmax(0).cpu()
        picture = fitted(image)
        grown = F.interpolate(classes[None, None].float(), picture.shape[-2:], mode="nearest-exact")
        drawn = with_classes(picture, grown[0, 0].long(), segmenter.classes)
        return drawn, shares(classes, segmenter.classes)

    return look


def shares(classes: Tensor, names: tuple[str, ...], most: int = 3) -> str:
    """The largest classes of H×W pixels, negative ones ignored: ``mostly road 61%, sky 30%``."""
    counts = classes[classes >= 0].bincount(minlength=len(names))
    largest = counts.argsort(descending=True, stable=True)[:most].tolist()
    parts = [f"{names[k]} {counts[k] / counts.sum():.0%}" for k in largest if counts[k]]
    return f"mostly {', '.join(parts)}" if parts else "nothing"
