"""Accuracy and its uncertainty."""

from __future__ import annotations

import math

Z95 = 1.959963984540054


def wilson_interval(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson, 1927).

    Args:
        correct: Number of successes, at most ``total``.
        total: Number of trials; with none the interval is (0, 1).
        z: Quantile of the normal distribution; the default gives 95 %.
    """
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    center = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)
