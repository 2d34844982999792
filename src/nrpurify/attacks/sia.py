"""SIA, the structure invariant attack (Wang et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.momentum import InputAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.ssa import cosines
from nrpurify.core.random import random_integer, uniform

Change = Callable[[Tensor, Generator], Tensor]
"""Maps a block 1×3×h×w to the same shape, so that gradients pass."""
NOISE = 16 / 255
RESIZED = 0.8
KEPT = 0.6
"""Share of the frequencies of each direction that stay, the lowest."""
DROPPED = 0.1
"""Probability that a color channel of a block is dropped."""


@register_attack("sia", source="Wang et al., 2023")
class SIA(InputAttack):
    """MI-FGSM along the mean gradient of views whose blocks are transformed, each in its own way.

    A view is cut at random into ``blocks`` × ``blocks`` rectangles, and each gets one of
    :data:`CHANGES`. ``copies`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        copies: Number of views.
        blocks: Number of blocks in each direction.
    """

    copies: int = 20
    blocks: int = 3

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The image with each block changed, several times."""
        generator = problem.generators[row]

        def view(image: Tensor) -> Tensor:
            heights, widths = (_cuts(side, self.blocks, generator) for side in image.shape[-2:])
            strips = []
            for top, bottom in pairwise(heights):
                blocks = []
                for left, right in pairwise(widths):
                    change = CHANGES[random_integer(0, len(CHANGES) - 1, generator)]
                    blocks.append(change(image[:, :, top:bottom, left:right], generator))
                strips.append(torch.cat(blocks, 3))
            return torch.cat(strips, 2)

        return [view] * self.copies


def _cuts(side: int, blocks: int, generator: Generator) -> list[int]:
    """Where a side is cut, its ends among them; no two at the same place."""
    places = 1 + torch.randperm(side - 1, generator=generator, device="cpu")[: blocks - 1]
    return [0, *sorted(places.tolist()), side]


def _shift(block: Tensor, axis: int, generator: Generator) -> Tensor:
    return block.roll(random_integer(0, block.shape[axis] - 1, generator), axis)


def _noisy(block: Tensor, generator: Generator) -> Tensor:
    noise = torch.empty(block.shape, device="cpu").uniform_(-NOISE, NOISE, generator=generator)
    return (block + noise.to(block)).clamp(0, 1)


def _resized(block: Tensor) -> Tensor:
    height, width = block.shape[-2:]
    small = F.interpolate(
        block,
        (int(RESIZED * height) + 1, int(RESIZED * width) + 1),
        mode="bilinear",
        align_corners=False,
    )
    return F.interpolate(small, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)


def _low_frequencies(block: Tensor) -> Tensor:
    height, width = (
        cosines(side).to(block)[: side - int((1 - KEPT) * side)] for side in block.shape[-2:]
    )
    return height.T @ (height @ block @ width.T) @ width


def _dropped(block: Tensor, generator: Generator) -> Tensor:
    kept = torch.rand(1, 3, 1, 1, generator=generator, device="cpu") >= DROPPED
    return block * kept.to(block) / (1 - DROPPED)


CHANGES: tuple[Change, ...] = (
    lambda block, generator: _shift(block, 2, generator),
    lambda block, generator: _shift(block, 3, generator),
    lambda block, generator: block.flip(2),
    lambda block, generator: block.flip(3),
    lambda block, generator: block.flip(2, 3),
    lambda block, generator: uniform(0, 1, generator) * block,
    _noisy,
    lambda block, generator: _resized(block),
    lambda block, generator: _low_frequencies(block),
    _dropped,
)
"""Shifts, flips, half a turn, darker, noise, smaller and back, low frequencies only, a channel
dropped; those of the published code."""

sia = functional(SIA)
