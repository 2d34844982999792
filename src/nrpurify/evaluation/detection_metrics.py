"""Mean average precision of boxes or masks, and its bootstrap interval over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.data.detection import Truth
from nrpurify.evaluation.metrics import register_metric
from nrpurify.models.detectors.boxes import Detections
from nrpurify.results import Estimate

MAX_DETECTIONS = 100
"""COCO's number of detections an image that count; with any other the libraries report -1."""
METRICS = ("mAP50", "mAP")
"""Average precision at an overlap (IoU) of 0.5, and COCO's mean over 0.5, 0.55 ... 0.95."""

_KEYS = ("boxes", "scores", "labels", "masks")
_KINDS = {"boxes": "bbox", "masks": "segm"}


@register_metric("mAP", source="COCO's mean average precision", values=METRICS)
class AveragePrecision:
    """COCO's mean average precision, image by image, by faster-coco-eval.

    That library is asked directly: torchmetrics, in front of it, leaves images without masks out of
    the mask metric, with whatever was wrongly detected in them, and rounds the thresholds to
    float32. Only the :data:`MAX_DETECTIONS` best detections of an image count.

    Args:
        kind: What has to overlap: ``boxes`` or ``masks``.
        resamples: Of the bootstrap.

    Raises:
        InputError: No such kind, or fewer than one resample.
        MissingExtraError: faster-coco-eval is not installed.
    """

    def __init__(self, kind: Literal["boxes", "masks"] = "boxes", resamples: int = 1000) -> None:
        if resamples < 1:
            raise InputError(f"resamples is {resamples}; expected at least 1")
        if kind not in _KINDS:
            raise InputError(f"kind is {kind!r}; expected one of {', '.join(_KINDS)}")
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("faster-coco-eval", "tasks") from error
        self.kind, self.resamples = kind, resamples
        self._images: list[dict[str, Any]] = []
        self._truths: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._images)

    def update(self, predictions: Sequence[Detections], targets: Sequence[Truth]) -> None:
        """Count N images: what was detected, and what is there.

        Raises:
            InputError: Masks are compared and one side has none.
        """
        for found, truth in zip(predictions, targets, strict=True):
            self.add(found, truth)

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """mAP50 and mAP with their bootstrap intervals over images.

        Raises:
            InputError: No image has an object: there is nothing to find.
        """
        values = self.values()
        intervals = self.intervals(resamples=self.resamples, seed=seed)
        return {name: Estimate(values[name], *intervals[name], len(self)) for name in METRICS}

    def add(self, found: Detections, truth: Truth) -> None:
        """Count one image.

        Raises:
            InputError: Masks are compared and one side has none.
        """
        found = _best(found)
        shapes = self._shapes(found.get("masks"), found["boxes"], "the detector gave")
        given = self._shapes(truth.masks, truth.boxes, "the annotations have")
        self._keep(found, shapes, truth, given)

    def _shapes(self, masks: Tensor | None, boxes: Tensor, whose: str) -> Tensor:
        if self.kind == "boxes":
            return boxes
        if masks is None:
            raise InputError(f"{whose} no masks; measure boxes, or take others that have")
        return masks

    def _keep(self, found: Detections, shapes: Tensor, truth: Truth, given: Tensor) -> None:
        """Store the image in COCO's own form."""
        image = len(self._images)
        height, width = given.shape[-2:] if self.kind == "masks" else (1, 1)
        self._images.append({"id": image, "height": height, "width": width})
        for label, crowd, shape in zip(truth.labels, truth.crowd, given, strict=True):
            row = {"id": len(self._truths) + 1, "image_id": image, "iscrowd": int(crowd)}
            self._truths.append(row | {"category_id": int(label)} | _annotation(shape))
        for label, score, shape in zip(found["labels"], found["scores"], shapes, strict=True):
            row = {"id": len(self._found) + 1, "image_id": image, "category_id": int(label)}
            self._found.append(row | {"score": float(score)} | _annotation(shape))

    def values(self) -> dict[str, float]:
        """mAP50 and mAP, both in [0, 1].

        Raises:
            InputError: No image has an object: there is nothing to find.
        """
        everything = self._matches().values(np.arange(len(self)))
        return dict(zip(METRICS, everything, strict=True))

    def _matches(self) -> _Matches:
        if not any(row["iscrowd"] == 0 for row in self._truths):
            raise InputError(f"no image of {len(self)} has an object; mAP needs some")
        return _Matches(self._images, self._truths, self._found, _KINDS[self.kind])

    def intervals(self, *, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % percentile bootstrap intervals of :meth:`values`.

        Images are drawn with replacement, ``resamples`` times; ``seed`` makes it reproducible.
        Classes that a draw misses are left out of its mean, as COCO leaves out absent classes.

        Raises:
            InputError: No image has an object, or fewer than one resample.
        """
        if resamples < 1:
            raise InputError(f"resamples is {resamples}; expected at least 1")
        matches = self._matches()
        generator = np.random.default_rng(seed)
        draws = [
            matches.values(generator.integers(len(self), size=len(self))) for _ in range(resamples)
        ]
        rows = np.array([draw for draw in draws if not math.isnan(draw[0])])
        low, high = np.quantile(rows, (0.025, 0.975), axis=0)
        return {name: (float(low[k]), float(high[k])) for k, name in enumerate(METRICS)}


def _best(found: Detections) -> Detections:
    """The detections that count, on the CPU; masks as K×H×W booleans."""
    order = found["scores"].argsort(descending=True, stable=True)[:MAX_DETECTIONS]
    best = {key: value.detach()[order].cpu() for key, value in found.items() if key in _KEYS}
    if "masks" in best and best["masks"].dtype != torch.bool:
        best["masks"] = best["masks"] >= 0.5
    if "masks" in best and best["masks"].ndim == 4:
        best["masks"] = best["masks"][:, 0]
    return best


def _annotation(shape: Tensor) -> dict[str, Any]:
    if shape.ndim == 1:
        left, top, right, bottom = shape.tolist()
        return {
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
        }
    from faster_coco_eval.core import mask

    code = mask.encode(np.asfortranarray(shape.numpy().astype(np.uint8)))
    return {"segmentation": code, "area": float(mask.area(code)), "bbox": [0, 0, 0, 0]}


class _Matches:
    """Which detection found which object, kept apart by image, so that images can be redrawn."""

    def __init__(
        self,
        images: list[dict[str, Any]],
        truths: list[dict[str, Any]],
        found: list[dict[str, Any]],
        iou_type: str,
    ) -> None:
        from faster_coco_eval import COCO, COCOeval_faster

        labels = sorted({row["category_id"] for row in truths + found})
        common = {"images": images, "categories": [{"id": n, "name": str(n)} for n in labels]}
        sides = [COCO(common | {"annotations": rows}) for rows in (truths, found)]
        self._evaluator = COCOeval_faster(*sides, iouType=iou_type, separate_eval=True)
        self._evaluator.params.areaRng = self._evaluator.params.areaRng[:1]
        self._evaluator.params.areaRngLbl = self._evaluator.params.areaRngLbl[:1]
        self._evaluator.evaluate()
        self._by_image = list(self._evaluator._evalImgs_cpp)
        self._count = len(images)

    def values(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, float]:
        """mAP50 and mAP over the ``chosen`` images; NaN if they hold no object."""
        rows, count = self._by_image, self._count
        self._evaluator._evalImgs_cpp = [
            rows[start + image] for start in range(0, len(rows), count) for image in chosen
        ]
        self._evaluator.accumulate()
        precision = np.asarray(self._evaluator.eval["precision"])[..., 0, -1]
        known = precision[0, 0] > -1
        if not known.any():
            return math.nan, math.nan
        return float(precision[0][:, known].mean()), float(precision[:, :, known].mean())
