"""``nrpurify.evaluate``: a plan, or images in memory with an attack and a purifier of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from nrpurify.core.callables import as_module
from nrpurify.core.errors import InputError
from nrpurify.evaluation.batches import Attack, Batch, ImageMap, check_budget
from nrpurify.evaluation.classification import Classify
from nrpurify.evaluation.metrics import Accuracy
from nrpurify.evaluation.plan import EvaluationPlan
from nrpurify.evaluation.predictions import predictions
from nrpurify.evaluation.runner import run
from nrpurify.results import Run, wilson_interval

CONDITIONS = ("clean", "attacked", "purified", "purified_clean")


@dataclass(frozen=True, eq=False)
class Views:
    """One batch under the four conditions: N×3×H×W tensors in [0, 1] by condition."""

    images: dict[str, Tensor]
    labels: Tensor
    names: list[str]


@dataclass
class Tally:
    """Right answers of one victim.

    Attributes:
        metrics: Accuracy by condition.
    """

    metrics: dict[str, Accuracy] = field(
        default_factory=lambda: {name: Accuracy() for name in CONDITIONS}
    )

    @property
    def total(self) -> int:
        """Images seen."""
        return len(self.metrics["clean"].hits)

    @property
    def correct(self) -> dict[str, int]:
        """Right answers by condition."""
        return {name: sum(metric.hits) for name, metric in self.metrics.items()}

    def accuracy(self) -> dict[str, float]:
        """Share of right answers by condition."""
        return {name: count / max(self.total, 1) for name, count in self.correct.items()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % Wilson intervals of :meth:`accuracy`."""
        return {name: wilson_interval(n, self.total) for name, n in self.correct.items()}

    def conditional_success(self) -> dict[str, float]:
        """Share of images that were right when clean and no longer are, by condition."""
        clean = self.metrics["clean"].hits
        lost = {
            name: sum(before and not hit for before, hit in zip(clean, metric.hits, strict=True))
            for name, metric in self.metrics.items()
        }
        return {name: n / max(sum(clean), 1) for name, n in lost.items() if name != "clean"}


Observer = Callable[[Views, dict[str, dict[str, Tensor]]], None]
"""Sees each batch's views and the logits by victim and condition."""


@overload
def evaluate(data: EvaluationPlan | str | Path, /, *args: Any, **options: Any) -> Run: ...


@overload
def evaluate(
    data: Iterable[Batch],
    victims: Mapping[str, nn.Module],
    /,
    *,
    attack: Attack,
    purifier: ImageMap,
    eps: float,
    observe: Observer | None = None,
    defense: str = "purifier",
) -> dict[str, Tally]: ...


def evaluate(data: Any, /, *args: Any, **options: Any) -> Run | dict[str, Tally]:
    """Evaluate a plan, or images in memory.

    With a plan, the arguments are those of :func:`nrpurify.evaluation.runner.run`. Batches of
    images in memory are counted under four conditions: clean, attacked, purified, purified clean.

    Args:
        data: A plan, a shipped one's name or a YAML file; or batches with labels.
        args: For batches: ``victims``, classifiers by name that return N×classes logits.
        options: For batches: ``attack``, which maps a batch to its attacked images; ``purifier``,
            which maps images to purified ones; ``eps``, the ℓ∞ budget, which is checked;
            ``observe``, which is called after each batch with its :class:`Views` and the logits;
            and ``defense``, the purifier's name in errors.

    Returns:
        The :class:`~nrpurify.results.Run` of a plan; for batches a :class:`Tally` by victim.

    Raises:
        InputError: A plan that cannot be used, a label that a victim has no class for, or
            predictions that are not finite.
        AssertionError: The attack left its budget.

    Examples:
        >>> run = nrpurify.evaluate("quick", "runs/quick")  # doctest: +SKIP
        >>> images, labels = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
        >>> batch = nrpurify.evaluation.Batch(images, labels, ["a.png", "b.png"])
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        >>> counts = nrpurify.evaluate(
        ...     [batch],
        ...     {"mine": network},
        ...     attack=lambda batch: (batch.images + 0.01).clamp(0, 1),
        ...     purifier=torch.nn.Identity(),
        ...     eps=0.01,
        ... )
        >>> counts["mine"].total
        2
    """
    if isinstance(data, EvaluationPlan | str | Path):
        return run(data, *args, **options)
    return _evaluate_batches(data, *args, **options)


def _evaluate_batches(
    batches: Iterable[Batch],
    victims: Mapping[str, nn.Module],
    *,
    attack: Attack,
    purifier: ImageMap,
    eps: float,
    observe: Observer | None = None,
    defense: str = "purifier",
) -> dict[str, Tally]:
    tallies = {name: Tally() for name in victims}
    task, none, behind = Classify(), nn.Identity(), as_module(purifier, "purifier")
    for batch in batches:
        with torch.no_grad():
            attacked = attack(batch)
        check_budget(batch.images, attacked, eps)
        shown = {"clean": batch.images, "attacked": attacked}
        views = dict(shown)
        logits: dict[str, dict[str, Tensor]] = {name: {} for name in victims}
        for condition in CONDITIONS:
            purified = condition.startswith("purified")
            images = shown["attacked" if condition in ("attacked", "purified") else "clean"]
            seen = _Last(behind if purified else none)
            spec = defense if purified else "none"
            found = predictions(task, seen, victims, images, batch.names, False, spec)
            views[condition] = seen.images
            for name, scores in found.items():
                _check_labels(name, scores, batch.labels)
                tallies[name].metrics[condition].update(scores, batch.labels.tolist())
                logits[name][condition] = torch.as_tensor(scores)
        if observe is not None:
            observe(Views(views, batch.labels, batch.names), logits)
    return tallies


class _Last(nn.Module):
    """A defense that keeps its last images."""

    def __init__(self, defense: nn.Module) -> None:
        super().__init__()
        self.defense = defense
        self.images = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.images = self.defense(images)
        return self.images


def _check_labels(name: str, scores: Any, labels: Tensor) -> None:
    classes, worst = scores.shape[1], int(labels.max())
    if worst >= classes or int(labels.min()) < 0:
        raise InputError(f"label {worst} given; {name} has classes 0 to {classes - 1}")
