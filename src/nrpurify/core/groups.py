"""Networks see images in groups of one fixed size.

Kernels choose their order of summation by the number of images, so an image's last bits, and the
signs of its gradient, depend on how many go through a network together. A plan therefore fixes that
number; it is recorded, and neither ``batch`` nor an interruption changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

GROUP = 4
"""Images that a network sees together, unless a plan says otherwise."""
Outputs = Callable[[Tensor], Iterable[Tensor]]
"""Maps N×3×H×W images to tensors whose first dimension is N."""


def span(batch: int, group: int) -> int:
    """Images read at a time: ``batch``, rounded up to whole groups."""
    return -(-batch // group) * group


def in_fixed_groups(
    function: Callable[..., Tensor], size: int, *columns: Tensor | Sequence[Any]
) -> Tensor:
    """``function`` of groups of exactly ``size`` rows; the last group repeats its last row.

    Args:
        function: Takes a part of each column and returns a tensor with one row each.
        size: Rows of a group.
        columns: Tensors or lists with one row an image, at least one of each; of generators the
            repeated rows get copies, so that they draw nothing from the last image's own.

    Returns:
        One row an image; the repeated ones are left out.
    """
    count, parts = len(columns[0]), []
    for start in range(0, count, size):
        chosen = [_filled(column[start : start + size], size) for column in columns]
        parts.append(function(*chosen)[: count - start])
    return torch.cat(parts)


def _filled(rows: Tensor | Sequence[Any], size: int) -> Tensor | Sequence[Any]:
    missing = size - len(rows)
    if not missing:
        return rows
    if isinstance(rows, Tensor):
        return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
    return [*rows, *(_copy(rows[-1]) for _ in range(missing))]


def _copy(value: Any) -> Any:
    if not isinstance(value, Generator):
        return value
    copy = Generator(value.device)
    copy.set_state(value.get_state())
    return copy


class GroupSize:
    """How many images a network may see at once: the plan's number, or 1.

    It is 1 for images of a size at which a kernel's result depends on the place in the group, so
    that no image's result depends on the others.

    Args:
        size: The plan's number.
        outputs: What of the network must not depend on the place; None where there is none.
    """

    def __init__(self, size: int, outputs: Outputs | None) -> None:
        self.size, self._outputs = size, outputs
        self._known: dict[Any, int] = {}

    def of(self, images: Tensor) -> int:
        """The size of groups of images like these N×3×H×W."""
        if self.size == 1 or self._outputs is None:
            return self.size
        key = (images.shape[1:], images.dtype, images.device)
        if key not in self._known:
            same = places_agree(self._outputs, images[:1].expand(self.size, *images.shape[1:]))
            self._known[key] = self.size if same else 1
        return self._known[key]


def places_agree(outputs: Outputs, copies: Tensor) -> bool:
    """Whether all rows of N copies of one image come out bit by bit the same."""
    return all(bool((found == found[:1]).all()) for found in outputs(copies.clone()))


class InGroups(nn.Module):
    """A network, or any map of images, that always sees groups of one size.

    Args:
        function: Maps N×3×H×W images to a tensor of N rows, whatever N.
        size: Images that it sees at once, see :class:`GroupSize`.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.function = function
        self._size = GroupSize(size, lambda images: [function(images)])

    def forward(self, images: Tensor) -> Tensor:
        """What the function makes of N×3×H×W images."""
        return in_fixed_groups(self.function, self._size.of(images), images)
