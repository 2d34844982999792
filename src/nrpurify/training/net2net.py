"""A warm start from a smaller network of the same kind."""

from __future__ import annotations

from torch import Tensor, nn

from nrpurify.purifiers.registry import Design
from nrpurify.training.initial import seeded_weights

EXPANDABLE = ("unshuffle-unet", "detail-unet")
"""Architectures whose new channels come behind the old ones, and whose new blocks do nothing."""


def can_expand(smaller: Design, larger: Design) -> bool:
    """Whether a network of one design can hold the weights of the other's and compute the same."""
    if smaller.architecture != larger.architecture or larger.architecture not in EXPANDABLE:
        return False
    with seeded_weights(0):  # the caller's generator stays as it is
        old, new = smaller.build(), larger.build()
    if old.multiple != new.multiple or old.tail.out_channels != new.tail.out_channels:  # type: ignore[union-attr]
        return False  # other levels, or another factor
    room = new.state_dict()
    return all(
        name in room and _fits(value, room[name]) for name, value in old.state_dict().items()
    )


def expand(smaller: nn.Module, larger: nn.Module) -> None:
    """Make ``larger``, freshly built, compute what ``smaller`` does.

    The old channels get the old weights and see none of the new channels, which keep what they were
    built with (as Net2Net, Chen et al., 2016, but by zeros instead of copies).

    Args:
        smaller: A network of the same design, or of one that :func:`can_expand` accepts.
        larger: Where its weights go.
    """
    weights = larger.state_dict()
    for name, value in smaller.state_dict().items():
        whole = weights[name]
        if whole.shape != value.shape:
            # zeros where old outputs would read new channels, so that they compute the same
            whole = whole[: len(value)].zero_()[tuple(slice(side) for side in value.shape)]
        whole.copy_(value)


def _fits(value: Tensor, room: Tensor) -> bool:
    return value.ndim == room.ndim and all(
        a <= b for a, b in zip(value.shape, room.shape, strict=True)
    )
