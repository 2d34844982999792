"""Optimizer settings, learning-rate schedules and averaged weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from nrpurify.core.ranges import DECAY, SHARE, at_least, check, each


@dataclass(frozen=True)
class Optimization:
    """How weights move.

    Attributes:
        lr: Learning rate of purifier and discriminator.
        warmup: Steps over which it grows from zero.
        schedule: ``cosine`` down to ``final_lr``, or ``steps``: halved at each milestone.
        milestones: Shares of all steps, for ``steps``.
        final_lr: Last learning rate, for ``cosine``.
        betas: Of Adam.
        clip: Greatest norm of the purifier's gradient, 0 for no clipping.
        ema: Decay of the averaged weights that are validated and saved, 0 for none.
        amp: bf16 autocast.
    """

    lr: float = 1e-4
    warmup: int = 0
    schedule: Literal["cosine", "steps"] = "steps"
    milestones: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75)
    final_lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 0.0
    ema: float = 0.0
    amp: bool | Literal["auto"] = "auto"
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            lr=at_least(0),
            warmup=at_least(0),
            milestones=each(SHARE),
            final_lr=at_least(0),
            betas=each(DECAY),
            clip=at_least(0),
            ema=DECAY,
        )


def learning_rate(step: int, steps: int, settings: Optimization) -> float:
    """The learning rate of the step after ``step`` done ones, of ``steps``.

    ``steps``: halved at each milestone (Sec. 4.1's networks are trained as ESRGAN, Wang et al.,
    2018). ``cosine``: half a cosine from ``lr`` down to ``final_lr``.
    """
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.schedule == "steps":
        passed = sum(step >= share * steps for share in settings.milestones)
        return float(warm * settings.lr * 0.5**passed)
    share = (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2
    return warm * (settings.final_lr + (settings.lr - settings.final_lr) * share)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of ``optimizer``."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` toward ``network``, faster in early steps.

    Batch-norm statistics are averaged as weights are.
    """
    # with the full decay from the start, random initial weights would stay in the mean for long
    decay = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    for mine, current in pairs:
        if mine.is_floating_point():
            mine.lerp_(current, 1 - decay)
        else:
            mine.copy_(current)
