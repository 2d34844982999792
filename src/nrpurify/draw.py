"""Single numbers from a generator on the CPU, or from torch's own: the same on every device."""

from __future__ import annotations

import torch
from torch import Generator


def random_integer(low: int, high: int, generator: Generator | None) -> int:
    """An integer in [low, high]."""
    return int(torch.randint(low, high + 1, (), generator=generator, device="cpu"))


def uniform(low: float, high: float, generator: Generator | None) -> float:
    """A number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, device="cpu"))


def chance(probability: float, generator: Generator | None) -> bool:
    """True with that probability."""
    return uniform(0, 1, generator) < probability
