"""Purification of images of any size in bounded memory: tiles with a halo."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nrpurify.core.errors import InputError

LEAST = 32
"""A last tile narrower than this is joined to the one before: networks that halve their input
should not end at a width of 1, where a piece has no neighbors left."""


def tile_sizes(length: int, tile: int) -> list[int]:
    """Cut ``length`` into tiles of ``tile``; a last one below :data:`LEAST` joins the one before.

    No tile is longer than ``tile + LEAST``; tiles of less than ``LEAST`` are left as they are.
    """
    sizes = [tile] * (length // tile)
    rest = length % tile
    if sizes and 0 < rest < LEAST < tile:
        sizes[-1] += rest
    elif rest:
        sizes.append(rest)
    return sizes


def spans(length: int, tile: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """For each tile of a line: what to read, what to keep of it, and where that goes."""
    stop = 0
    for size in tile_sizes(length, tile):
        start, stop = stop, stop + size
        left, right = max(start - halo, 0), min(stop + halo, length)
        yield slice(left, right), slice(start - left, stop - left), slice(start, stop)


def apply_tiled(
    function: Callable[..., Tensor],
    images: Tensor,
    *more: Tensor,
    tile: int,
    halo: int,
    multiple: int = 1,
    scale: int = 1,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Apply an image-to-image ``function`` tile by tile, without gradients.

    Equal to ``function(images, *more)`` when ``halo`` is at least the function's receptive radius;
    memory beyond input and output depends on the tile alone.

    Args:
        function: Maps N×C×h×w to N×3×(scale·h)×(scale·w), for any h and w.
        images: N×C×H×W.
        more: Further tensors of the same height and width; ``function`` takes a tile of each.
        tile: Side of the tiles in pixels; rounded up to ``multiple``. The last one of a line may
            be longer, see :func:`tile_sizes`.
        halo: Pixels read around each tile; rounded up to ``multiple``.
        multiple: Tile corners are put on multiples of it, so that a function that works on a grid
            of pixel blocks sees the same grid.
        scale: How many times longer the sides become.
        dtype: Of the result, by default that of ``images``.

    Raises:
        InputError: ``tile`` is not positive or ``halo`` negative.
    """
    if tile < 1 or halo < 0:
        raise InputError(f"tile is {tile} and halo {halo}; expected tile >= 1 and halo >= 0")
    tile, halo = (-(-size // multiple) * multiple for size in (tile, halo))
    height, width = (scale * side for side in images.shape[2:])
    result = images.new_empty(len(images), 3, height, width, dtype=dtype)
    with torch.no_grad():
        for rows_in, rows_keep, rows_out in spans(images.shape[2], tile, halo):
            for cols_in, cols_keep, cols_out in spans(images.shape[3], tile, halo):
                part = function(*(given[..., rows_in, cols_in] for given in (images, *more)))
                place = (..., _times(rows_out, scale), _times(cols_out, scale))
                result[place] = part[..., _times(rows_keep, scale), _times(cols_keep, scale)]
    return result


def _times(span: slice, scale: int) -> slice:
    return slice(scale * span.start, scale * span.stop)
