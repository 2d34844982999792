"""The weights with which a training begins, as a function of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """What the block draws from torch's global generator is a function of ``seed`` alone.

    Networks that it builds lie on the CPU, whatever the default device. Afterwards the generator is
    as it was; those of other devices are never touched, which ``torch.manual_seed`` would reseed.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield
