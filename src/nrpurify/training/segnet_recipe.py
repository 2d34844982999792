"""What decides a training of SegNet-Basic."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from nrpurify.core.errors import InputError
from nrpurify.core.ranges import (
    DECAY,
    POSITIVE,
    SOME,
    at_least,
    check,
    each,
    least_and_greatest,
)
from nrpurify.training.recipe import Optimization


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        steps: Number of updates.
        batch: Views a step.
        size: Height and width of the views.
        scale: Least and greatest factor by which images are resized before views are cut.

    Raises:
        RecipeError: A number out of its range.
    """

    steps: int
    batch: int
    size: tuple[int, int]
    scale: tuple[float, float]
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            steps=at_least(1),
            batch=at_least(1),
            size=each(at_least(16)),
            scale=least_and_greatest(POSITIVE),
        )


@dataclass(frozen=True)
class SegNetRecipe:
    """Everything that decides a run.

    A full image costs 60 billion multiplications, so views of shrunken images come first, images in
    full size last. The defaults are one run of the stages that the shipped checkpoint went through
    in three, each begun with the weights of the one before (docs/tasks.md).

    Attributes:
        stages: Done one after another.
        lr: Greatest learning rate of AdamW, after ``warmup`` steps; half a cosine down follows.
        warmup: Steps.
        final_lr: Last learning rate.
        weight_decay: Of AdamW.
        ema: Decay of the averaged weights, which are those that are saved; 0 saves the last ones.
        jitter: Greatest relative change of brightness, contrast, saturation and gamma.
        norm_images: Images in full size from which batch-norm statistics are taken at the end;
            0 keeps those of the training.
        holdout: Share of the pairs on which accuracy is measured at the end; not trained on.
        checkpoint_every: Steps between resumable checkpoints.
        seed: Of everything random.

    Raises:
        RecipeError: A number out of its range.
    """

    stages: tuple[Stage, ...] = (
        Stage(1400, 2, (144, 192), (0.35, 0.8)),
        Stage(900, 2, (180, 240), (0.6, 1.1)),
        Stage(1500, 2, (216, 288), (0.65, 1.2)),
        Stage(700, 1, (288, 384), (0.9, 1.1)),
        Stage(1150, 1, (360, 480), (0.95, 1.25)),
    )
    lr: float = 1e-3
    warmup: int = 60
    final_lr: float = 1e-5
    weight_decay: float = 0.02
    ema: float = 0.998
    jitter: float = 0.45
    norm_images: int = 60
    holdout: float = 0.06
    checkpoint_every: int = 50
    seed: int = 0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            stages=SOME,
            lr=POSITIVE,
            warmup=at_least(0),
            final_lr=at_least(0),
            weight_decay=at_least(0),
            ema=DECAY,
            jitter=DECAY,
            norm_images=at_least(0),
            holdout=DECAY,
            checkpoint_every=at_least(1),
        )

    @property
    def steps(self) -> int:
        """Number of updates in all."""
        return sum(stage.steps for stage in self.stages)

    @property
    def schedule(self) -> Optimization:
        """How the learning rate moves."""
        return Optimization(
            lr=self.lr, warmup=self.warmup, schedule="cosine", final_lr=self.final_lr
        )

    def stage(self, step: int) -> Stage:
        """The stage of the update after ``step`` done ones, ``step`` below :attr:`steps`."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise InputError(f"the recipe ends {step + 1} steps before that")

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)
