"""A purifier as a detector: scores of images, and ROC where clean and attacked ones are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import ImageFile
from nrpurify.core.images import read_image
from nrpurify.core.precision import Amp
from nrpurify.core.progress import SILENT, Progress
from nrpurify.purifiers import Purifier


@dataclass
class Detection:
    """Scores of images.

    Attributes:
        unit: What a score is, see :meth:`nrpurify.purifiers.Purifier.score`.
        threshold: From this score on an image counts as attacked; None where nothing decides it.
        scores: By relative path, of the images in question (the clean ones, if attacked ones are
            given).
        attacked: By relative path, of images that are known to be attacked.
        broken: Images that could not be read, with reasons; they are in no number.
    """

    unit: str
    threshold: float | None
    scores: dict[str, float]
    attacked: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, with counts and, where attacked images are given, ROC and its area."""
        found: dict[str, Any] = {
            "score": self.unit,
            "threshold": self.threshold,
            "images": self.scores,
            "detected": self._detected(self.scores),
        }
        if self.attacked:
            curve = roc_curve(list(self.scores.values()), list(self.attacked.values()))
            found |= {
                "attacked_images": self.attacked,
                "attacked_detected": self._detected(self.attacked),
                "auc": area_under(curve),
                "roc": curve,
            }
        return {**found, "broken": self.broken}

    def _detected(self, scores: dict[str, float]) -> int | None:
        if self.threshold is None:
            return None
        return sum(score >= self.threshold for score in scores.values())


def detect(
    files: Sequence[ImageFile],
    purifier: Purifier,
    *,
    attacked: Sequence[ImageFile] = (),
    threshold: float | None = None,
    false_alarms: float = 0.05,
    amp: Amp = "auto",
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Detection:
    """Score image files at their own size.

    Args:
        files: The images in question; with ``attacked``, clean ones.
        purifier: Scores them, on ``device``.
        attacked: Attacked images, for the ROC.
        threshold: From this score on an image counts as attacked. By default the one that at most
            ``false_alarms`` of the clean images reach, if there are attacked ones; else a gate's 0.
        false_alarms: Share in [0, 1).
        amp: bf16 autocast.
        device: Where to work.
        progress: Sees the images done.

    Raises:
        InputError: No image can be read, or ``false_alarms`` outside [0, 1).
    """
    if not 0 <= false_alarms < 1:
        raise InputError(f"false_alarms is {false_alarms}; expected a share in [0, 1)")
    broken: list[str] = []
    total, done = len(files) + len(attacked), 0

    def score(group: Sequence[ImageFile]) -> dict[str, float]:
        nonlocal done
        scores = {}
        for file in group:
            try:
                image = read_image(file.path).rgb[None].to(device)
                scores[file.relative.as_posix()] = float(purifier.score(image, amp=amp))
            except ImageError as error:
                broken.append(str(error))
            done += 1
            progress.update("detect", done, total)
        if group and not scores:
            raise InputError(f"no image of {len(group)} can be read: {broken[-1]}")
        return scores

    plain, known = score(files), score(attacked)
    if threshold is None and known:
        threshold = threshold_at(list(plain.values()), false_alarms)
    elif threshold is None and purifier.gate is not None:
        threshold = 0.0
    return Detection(purifier.score_unit, threshold, plain, known, broken)


def roc_curve(clean: Sequence[float], attacked: Sequence[float]) -> list[tuple[float, float]]:
    """Points (false alarms, detections) as the threshold falls, from (0, 0) to (1, 1).

    An image is detected if its score is at least the threshold; both axes are shares.

    Args:
        clean: Scores of images that were not attacked, at least one.
        attacked: Scores of attacked images, at least one.
    """
    points = [(0.0, 0.0)]
    for threshold in sorted({*clean, *attacked}, reverse=True):
        alarms = sum(score >= threshold for score in clean)
        found = sum(score >= threshold for score in attacked)
        points.append((alarms / len(clean), found / len(attacked)))
    return points


def area_under(points: Sequence[tuple[float, float]]) -> float:
    """Area under a curve of (x, y) points with rising x, by trapezoids."""
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def threshold_at(clean: Sequence[float], share: float) -> float:
    """The least threshold at which at most ``share`` of the ``clean`` scores are at or above it.

    Args:
        clean: Scores, at least one.
        share: In [0, 1).
    """
    count = len(clean)
    allowed = sum(alarms / count <= share for alarms in range(1, count))
    ordered = sorted(clean, reverse=True)
    return math.nextafter(ordered[allowed], math.inf)
