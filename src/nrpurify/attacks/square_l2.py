"""The proposals of the Square attack in ℓ2 (Andriushchenko et al., 2020, Algorithm 3)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from nrpurify.attacks.problem import AttackProblem
from nrpurify.core.random import chance, random_integer

TILES = 5
"""Tiles along the shorter side of the first query."""
SMALLEST = 3
"""Side of the smallest squares in pixels."""


def tiles(part: AttackProblem) -> Tensor:
    """The clean images with tiles of patterns, whose length together is the budget."""
    height, width = part.clean.shape[2:]
    side = max(min(height, width) // TILES, 2)
    rows, columns = ((length - length // side * side) // 2 for length in (height, width))
    made = []
    for generator in part.generators:
        change = torch.zeros(part.clean.shape[1:])
        for top in range(rows, height - side + 1, side):
            for left in range(columns, width - side + 1, side):
                color = signs(generator) * pattern(side, generator)
                change[:, top : top + side, left : left + side] = color
        made.append(change / change.norm().clamp_min(1e-12))
    return part.clean + part.radii * torch.stack(made).to(part.clean)


def moved(best: Tensor, part: AttackProblem, active: Tensor, side: int) -> Tensor:
    """The images with one square whose pattern has the length that another one gives back.

    Args:
        best: M×3×H×W, within the budget.
        part: Their problem.
        active: Indices of those that are changed.
        side: Of the squares in pixels; made odd, and 3 at least.
    """
    shorter = min(best.shape[2:])
    side = min(max(side | 1, SMALLEST), shorter if shorter % 2 else max(shorter - 1, 1))
    changed = best.clone()
    for row in active.tolist():
        generator = part.generators[row]
        change = best[row] - part.clean[row]
        unused = (part.radii[row].flatten().square() - change.square().sum()).clamp_min(0)
        first, second = (_window(best.shape[2:], side, generator) for _ in range(2))
        both = torch.zeros_like(change[:1], dtype=torch.bool)
        both[first] = both[second] = True
        available = ((change * both).square().sum((1, 2)) + unused / len(change)).sqrt()
        before = change[first]
        lengths = before.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)
        color = (signs(generator) * pattern(side, generator)).to(change)
        color = color + before / lengths
        color = color / color.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)
        change[second] = 0
        change[first] = color * available.view(-1, 1, 1)
        changed[row] = part.clean[row] + change
    return changed


def pattern(side: int, generator: Generator | None) -> Tensor:
    """Two peaks of opposite sign above or beside each other: side×side, of length 1."""
    half = side // 2
    whole = torch.cat([peak(half, side), -peak(side - half, side)])
    whole /= whole.norm()
    return whole.T if chance(0.5, generator) else whole


def peak(height: int, width: int) -> Tensor:
    """A peak around the middle, of length 1: at distance d the sum of 1/(j+1)² over j ≥ d."""
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    distance = torch.maximum(rows[:, None], columns)
    parts = 1 / torch.arange(1, max(height, width) // 2 + 2).float().square()
    sums = parts.flip(0).cumsum(0).flip(0)
    values: Tensor = sums[distance]
    values /= values.norm()
    return values


def signs(generator: Generator | None) -> Tensor:
    """A random sign for each color, 3×1×1."""
    return 2.0 * torch.randint(2, (3, 1, 1), generator=generator, device="cpu") - 1


def _window(size: torch.Size, side: int, generator: Generator | None) -> tuple[slice, ...]:
    top, left = (random_integer(0, length - side, generator) for length in size)
    return slice(None), slice(top, top + side), slice(left, left + side)
