"""Cells of segmentation: one number each, with all that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nrpurify.attacks.gradient_log import GradientCount
from nrpurify.data.masks import Problem, count_problems
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.results import Result, result_id
from nrpurify.tasks.segmentation_metrics import METRICS, bootstrap_interval


@dataclass(frozen=True)
class Attacked:
    """Attacked images, made once and outside.

    Attributes:
        attack: Its name, such as ``ssp``.
        eps: Its budget in (0, 1], checked; None for no attack.
        images: Gives the attacked images of a batch of one; for a folder of them
            :func:`nrpurify.evaluation.cache.look_up`.
        surrogate: The network that was attacked.
        steps: Iterations.
        rounding: ``uint8`` for images out of PNG files, else ``float``.
        threat: What the attacker knew.
        settings: Further settings and hashes, as plain values; they decide the cells' ids too.
        gradients: What the attack met at the images made so far.
    """

    attack: str
    eps: float | None
    images: Attack
    surrogate: str | None = None
    steps: int | None = None
    rounding: str = "uint8"
    threat: str = "oblivious transfer"
    settings: Mapping[str, Any] = field(default_factory=dict)
    gradients: Callable[[], list[GradientCount]] = list

    def describe(self) -> dict[str, Any]:
        """The fields of a result that tell of it."""
        names = ("attack", "surrogate", "eps", "steps", "threat", "rounding")
        return {
            **{name: getattr(self, name) for name in names},
            "norm": None if self.eps is None else "linf",
            "precision": self.settings.get("precision"),
            "settings": dict(self.settings),
        }


def _unchanged(batch: Batch) -> Tensor:
    return batch.images


CLEAN = Attacked("clean", None, _unchanged, rounding="float", threat="none")
"""No attack."""


@dataclass(frozen=True)
class CellMaker:
    """Names and fills the cells of one victim on one set of images.

    Attributes:
        victim: Its name.
        names: Of the images.
        problems: Files that are in no number.
        basis: What else decides the values, such as hashes of weights.
        seed: Of the bootstrap.
    """

    victim: str
    names: Sequence[str]
    problems: Sequence[Problem]
    basis: Mapping[str, Any]
    seed: int

    def ids(self, condition: Attacked, defense: str) -> dict[str, str]:
        """The id of each metric's result, see :func:`nrpurify.results.result_id`."""
        decided = {**condition.describe(), "images": list(self.names), "basis": dict(self.basis)}
        decided |= {"task": "segment", "defense": defense, "victim": self.victim}
        decided |= {"seed": self.seed}
        return {metric: result_id({**decided, "metric": metric}) for metric in METRICS}

    def cells(
        self, condition: Attacked, defense: str, counts: Tensor, spent: Mapping[str, Any]
    ) -> list[Result]:
        """One result a metric from the confusion counts N×C×C of N images.

        ``spent`` holds draws, seconds and memory.
        """
        kinds = count_problems(self.problems)
        notes = [f"left out: {number} × {kind}" for kind, number in kinds.items()]
        return [
            Result(
                id=name,
                task="segment",
                metric=metric,
                value=float(METRICS[metric](counts.sum(0))),
                interval=bootstrap_interval(counts, METRICS[metric], seed=self.seed),
                **condition.describe(),
                defense=defense,
                victim=self.victim,
                n=len(counts),
                **spent,
                seed=self.seed,
                notes=notes,
            )
            for metric, name in self.ids(condition, defense).items()
        ]
