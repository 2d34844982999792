"""Curves of detectors of attacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


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
    """The least threshold at which at most ``share`` of the ``clean`` scores are at or above it."""
    allowed = math.floor(share * len(clean))
    ordered = sorted(clean, reverse=True)
    if allowed >= len(ordered):
        return ordered[-1]
    return math.nextafter(ordered[allowed], math.inf)
