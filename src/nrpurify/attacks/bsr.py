"""BSR, block shuffle and rotation (Wang et al., 2024)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.momentum import InputAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.random import random_integer, uniform


@register_attack("bsr", source="Wang et al., 2024")
class BSR(InputAttack):
    """MI-FGSM along the mean gradient of views whose blocks are shuffled and rotated.

    A view is cut into ``blocks`` strips of random widths, across or along at random, which are
    shuffled. Each strip is rotated by a random angle, cut the other way, and its blocks are
    shuffled, as in the published code; the paper rotates each block. Corners become black.
    ``copies`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        copies: Number of views.
        blocks: Number of blocks in each direction.
        angle: Greatest rotation, in degrees.
    """

    copies: int = 20
    blocks: int = 3
    angle: float = 24.0

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The image, shuffled and rotated, several times."""
        generator = problem.generators[row]

        def view(image: Tensor) -> Tensor:
            first = random_integer(2, 3, generator)
            second = 5 - first
            strips = []
            for strip in _shuffled(image, first, self.blocks, generator):
                turned = rotated(strip, uniform(-self.angle, self.angle, generator))
                strips.append(torch.cat(_shuffled(turned, second, self.blocks, generator), second))
            return torch.cat(strips, first)

        return [view] * self.copies


def _shuffled(image: Tensor, axis: int, count: int, generator: Generator) -> list[Tensor]:
    """``count`` parts of an image in random order, whose lengths differ by at most a factor 2."""
    side = image.shape[axis]
    shares = 1 + torch.rand(count, generator=generator, device="cpu")
    lengths = (shares / shares.sum() * side).round().long()
    lengths[lengths.argmax()] += side - lengths.sum()  # rounding
    parts = [part for part in torch.split(image, lengths.tolist(), axis) if part.shape[axis]]
    order = torch.randperm(len(parts), generator=generator, device="cpu")
    return [parts[index] for index in order.tolist()]


def rotated(image: Tensor, degrees: float) -> Tensor:
    """An image N×C×H×W turned counter-clockwise around its center: bilinear, black outside."""
    height, width = image.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # affine_grid counts both directions from -1 to 1, so a turn of pixels needs the aspect ratio
    turn = [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]
    matrix = image.new_tensor(turn).expand(len(image), 2, 3)
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


bsr = functional(BSR)
