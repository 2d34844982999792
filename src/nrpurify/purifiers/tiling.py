"""Images of any size: padded to multiples, and in tiles with a halo where they are large.

``torch.export`` may leave the sides open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.tracing import exporting

LEAST = 32
"""A last tile narrower than this is joined to the one before: networks that halve their input
should not end at a width of 1, where a piece has no neighbors left."""


def check_tiles(tile: int, halo: int) -> None:
    """Refuse tiles without pixels.

    Raises:
        InputError: ``tile`` is not positive or ``halo`` negative.
    """
    if tile < 1 or halo < 0:
        raise InputError(f"tile is {tile} and halo {halo}; expected tile >= 1 and halo >= 0")


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


def tile_shape(height: int, width: int, tile: int, halo: int, multiple: int = 1) -> tuple[int, int]:
    """Height and width of the tiles that cut an image so that the fewest pixels are read.

    Each reads at most (tile + 2·halo)² pixels, its halo among them. Few long cuts read less than
    many short ones, and an image of no more pixels than that is one tile.

    Args:
        height: Of the image.
        width: Of the image.
        tile: Side of a square tile that may be read with its halo.
        halo: As in :func:`apply_tiled`.
        multiple: As in :func:`apply_tiled`.
    """
    tile, halo = _on_grid(multiple, tile, halo)
    largest = (tile + 2 * halo) ** 2
    found = []
    for rows, columns in product(range(1, -(-height // tile) + 1), range(1, -(-width // tile) + 1)):
        high, wide = _on_grid(multiple, -(-height // rows), -(-width // columns))
        read_high, read_wide = min(high + 2 * halo, height), min(wide + 2 * halo, width)
        if read_high * read_wide <= largest:
            total = (height + 2 * halo * (rows - 1)) * (width + 2 * halo * (columns - 1))
            found.append((total, high, wide))
    _, high, wide = min(found)
    return high, wide


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
    tile: int | tuple[int, int],
    halo: int,
    multiple: int = 1,
    scale: int = 1,
    dtype: torch.dtype | None = None,
    executor: Executor | None = None,
) -> Tensor:
    """Apply an image-to-image ``function`` tile by tile, without gradients.

    Equal to ``function(images, *more)`` when ``halo`` is at least the function's receptive radius;
    memory beyond input and output depends on the tile alone.

    Args:
        function: Maps N×C×h×w to N×3×(scale·h)×(scale·w), for any h and w.
        images: N×C×H×W.
        more: Further tensors of the same height and width; ``function`` takes a tile of each.
        tile: Side of the tiles in pixels, or height and width; rounded up to ``multiple``. The
            last one of a line may be longer, see :func:`tile_sizes`.
        halo: Pixels read around each tile; rounded up to ``multiple``.
        multiple: Tile corners are put on multiples of it, so that a function that works on a grid
            of pixel blocks sees the same grid.
        scale: How many times longer the sides become.
        dtype: Of the result, by default that of ``images``.
        executor: Threads that share the tiles; by default this one does all of them. The result
            is the same where each thread uses as many cores as this one.

    Raises:
        InputError: ``tile`` is not positive or ``halo`` negative.
    """
    high, wide = (tile, tile) if isinstance(tile, int) else tile
    check_tiles(min(high, wide), halo)
    high, wide, halo = _on_grid(multiple, high, wide, halo)
    height, width = (scale * side for side in images.shape[2:])
    result = images.new_empty(len(images), 3, height, width, dtype=dtype)
    inference = torch.is_inference_mode_enabled()

    def fill(spans: tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]) -> None:
        (rows_in, rows_keep, rows_out), (cols_in, cols_keep, cols_out) = spans
        with torch.inference_mode(inference), torch.no_grad():  # of each thread
            part = function(*(given[..., rows_in, cols_in] for given in (images, *more)))
            place = (..., _times(rows_out, scale), _times(cols_out, scale))
            result[place] = part[..., _times(rows_keep, scale), _times(cols_keep, scale)]

    rows = spans(images.shape[2], high, halo)
    columns = spans(images.shape[3], wide, halo)
    share = map if executor is None else executor.map
    for _ in share(fill, product(rows, columns)):
        pass  # an error is raised here
    return result


def _on_grid(multiple: int, *sizes: int) -> tuple[int, ...]:
    return tuple(-(-size // multiple) * multiple for size in sizes)


def _times(span: slice, scale: int) -> slice:
    return slice(scale * span.start, scale * span.stop)


def pad_to_multiple(images: Tensor, multiple: int, mode: str = "constant") -> Tensor:
    """Pad N×C×H×W right and at the bottom until its sides are multiples.

    Args:
        images: N×C×H×W.
        multiple: Of it.
        mode: ``constant`` for zeros, or ``replicate`` for the values at the border.
    """
    height, width = images.shape[-2:]
    # Written so that for torch.export the padded side is a plain product.
    high, wide = (multiple * ((side + multiple - 1) // multiple) for side in (height, width))
    if exporting() and mode == "replicate":  # F.pad would ask whether there is something to pad
        rows, columns = (
            torch.arange(longer, device=images.device).clamp(max=side - 1)
            for longer, side in ((high, height), (wide, width))
        )
        return images.index_select(-2, rows).index_select(-1, columns)
    if exporting() or high != height or wide != width:
        return F.pad(images, (0, wide - width, 0, high - height), mode=mode)
    return images


def crop(images: Tensor, height: int, width: int) -> Tensor:
    """The upper left height×width pixels of N×C×H×W images."""
    if exporting():  # a view would ask whether it is contiguous
        for axis, side in ((-2, height), (-1, width)):
            images = images.index_select(axis, torch.arange(side, device=images.device))
        return images
    return images[..., :height, :width]


def halve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3×3 convolution of stride 2 and padding 1 on even sides.

    While exporting, the zeros are put left and above by hand: those on the other sides meet no
    kernel, and without them the length of the result is a plain half of the side.
    """
    if not exporting():
        return conv(x)  # type: ignore[no-any-return]
    return F.conv2d(F.pad(x, (1, 0, 1, 0)), conv.weight, conv.bias, stride=2)
