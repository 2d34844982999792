"""Intervals of shares and of differences."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from nrpurify.core.errors import InputError
from nrpurify.results.result import Estimate

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
    value = correct / total
    center = value + z * z / (2 * total)
    spread = z * math.sqrt(value * (1 - value) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def share(hits: Sequence[bool]) -> Estimate:
    """The share of hits, with its Wilson interval.

    Raises:
        InputError: There are none.
    """
    if not hits:
        raise InputError("a share of 0 images was asked for; give at least one")
    correct = sum(map(bool, hits))
    return Estimate(correct / len(hits), *wilson_interval(correct, len(hits)), len(hits))


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """The difference of two means on the same images, with its 95 % percentile interval.

    Images are drawn with replacement (Efron, 1979), each with both of its values, so what makes an
    image hard for both does not widen the interval.

    Args:
        first: One value an image, such as 1 for a right answer behind one defense and 0 otherwise.
        second: The same images' values behind another defense.
        resamples: Number of draws, at least 1.
        seed: Makes them reproducible.

    Returns:
        mean(first) - mean(second), its ends, and the number of images.

    Raises:
        InputError: The numbers of values differ, or there are none.
    """
    if len(first) != len(second) or not first:
        raise InputError(
            f"{len(first)} and {len(second)} values given; expected as many of both, at least one"
        )
    apart = [a - b for a, b in zip(first, second, strict=True)]
    generator, count = random.Random(seed), len(apart)
    means = sorted(sum(generator.choices(apart, k=count)) / count for _ in range(resamples))
    low, high = (means[round(q * (resamples - 1))] for q in (0.025, 0.975))
    return Estimate(sum(apart) / count, low, high, count)
