"""The factor by which a transformation has enlarged images before a model gets them.

A classifier resizes images to its own side. Input diversity and R&P enlarge images r times; the
classifier must then resize to r times its side, as in their papers, where networks take images as
they come. The transformation sets the factor here, and classifiers read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_RATIO: ContextVar[tuple[float, float]] = ContextVar("ratio", default=(1.0, 1.0))


@contextmanager
def enlarged(before: Tensor, after: Tensor) -> Iterator[None]:
    """While the block runs, classifiers see images larger by the ratio of ``after`` to ``before``.

    Ratios of nested blocks are multiplied. Nothing happens under ``torch.export`` and
    ``torch.compile``.

    Args:
        before: Images N×C×H×W.
        after: What a transformation made of them, N×C×H'×W'.
    """
    if torch.compiler.is_compiling() or before.shape[2:] == after.shape[2:]:
        yield
        return
    ratios = (new / old for new, old in zip(after.shape[2:], before.shape[2:], strict=True))
    high, wide = (outer * ratio for outer, ratio in zip(_RATIO.get(), ratios, strict=True))
    token = _RATIO.set((high, wide))
    try:
        yield
    finally:
        _RATIO.reset(token)


def seen_size(side: int) -> tuple[int, int]:
    """Height and width at which a network of this input side sees the present images."""
    if torch.compiler.is_compiling():
        return side, side
    high, wide = _RATIO.get()
    return max(1, round(side * high)), max(1, round(side * wide))
