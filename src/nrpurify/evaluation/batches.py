"""Batches of images, and the budget that attacked ones must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """N×3×H×W images in [0, 1], their N labels from 0 (0 where a task has none), and N names."""

    images: Tensor
    labels: Tensor
    names: list[str]


ImageMap = Callable[[Tensor], Tensor]
Attack = Callable[[Batch], Tensor]
"""Returns the attacked images of a batch; may make them, or look them up by name."""


def sizes(changes: Tensor, norm: str = "linf") -> Tensor:
    """The norm of each of N×3×H×W changes."""
    rows = changes.flatten(1)
    return rows.norm(dim=1) if norm == "l2" else rows.abs().amax(1)


def check_budget(clean: Tensor, attacked: Tensor, eps: float, norm: str = "linf") -> None:
    """Raise AssertionError unless ‖attacked - clean‖ ≤ ``eps`` + 1e-6 and all is in [0, 1].

    NaN is in no range: it is refused too, in either of them.

    Args:
        clean: N×3×H×W in [0, 1].
        attacked: Of the same shape.
        eps: The budget in ``norm``; 0 allows no change.
        norm: ``linf``, or ``l2``, whose lengths are compared to one part in 10⁵.
    """
    for name, images in (("attacked", attacked), ("clean", clean)):
        if images.isnan().any():
            raise AssertionError(f"the {name} images hold NaN; expected numbers in [0, 1]")
    worst = float(sizes(attacked - clean, norm).max())
    allowed = eps if norm == "linf" else eps * (1 + 1e-5)
    low, high = float(attacked.min()), float(attacked.max())
    if worst > allowed + 1e-6 or low < 0 or high > 1:
        raise AssertionError(
            f"the attack left its box: change {worst:.6f} of {eps:.6f}, range [{low:g}, {high:g}]"
        )
