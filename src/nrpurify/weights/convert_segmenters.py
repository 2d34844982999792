"""From what a package's file holds to the state dicts of segmenters."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_DEPTHS = {"encoders": (7, 6, 5, 4, 4, 4), "decoders": (4, 4, 5, 6, 7)}


def _u2net_convs() -> Iterator[str]:
    """Names of U²-Net's convolutions in the order in which an image passes them."""
    for side, depths in _DEPTHS.items():
        for k, depth in enumerate(depths):
            yield f"{side}.{k}.enter"
            yield from (f"{side}.{k}.down.{i}" for i in range(depth))
            yield from (f"{side}.{k}.up.{i}" for i in range(depth - 1))
    yield from (f"sides.{k}" for k in range(6))
    yield "fuse"


def u2netp(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """U²-Net-p's exported graph, whose convolutions lie in the order of the pass."""
    arrays, state = iter(raw.values()), {}
    for name in _u2net_convs():
        for part in ("weight", "bias"):
            try:
                state[f"{name}.{part}"] = torch.tensor(next(arrays))
            except StopIteration:
                raise KeyError(f"{name}.{part}") from None
    return state
