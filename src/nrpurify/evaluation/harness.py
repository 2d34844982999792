"""The harness: images → attack → purifier → victims → counts.

Success rate, in the paper's sense, is one minus accuracy under attack; the conditional one counts
only images that the victim had right before the attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.evaluation.finite import check_finite

CONDITIONS = ("clean", "attacked", "purified", "purified_clean")


class Batch(NamedTuple):
    """N×3×H×W images in [0, 1], their N labels from 0, and their N names."""

    images: Tensor
    labels: Tensor
    names: list[str]


ImageMap = Callable[[Tensor], Tensor]
Attack = Callable[[Batch], Tensor]
"""Returns the attacked images of a batch; may make them, or look them up by name."""


@dataclass(frozen=True, eq=False)
class Views:
    """One batch under the four conditions: N×3×H×W tensors in [0, 1] by condition."""

    images: dict[str, Tensor]
    labels: Tensor
    names: list[str]

    @classmethod
    def of(
        cls, batch: Batch, attack: Attack, purifier: ImageMap, eps: float, defense: str
    ) -> Views:
        """Attack and purify a batch.

        Raises:
            InputError: Purified images that are not finite.
            AssertionError: The attack left its budget ``eps`` or [0, 1].
        """
        clean = batch.images
        attacked = attack(batch)
        check_budget(clean, attacked, eps)
        images = {
            "clean": clean,
            "attacked": attacked,
            "purified": purifier(attacked),
            "purified_clean": purifier(clean),
        }
        for name in ("purified", "purified_clean"):
            check_finite(images[name], batch.names, "images", defense)
        return cls(images, batch.labels, batch.names)


def check_budget(clean: Tensor, attacked: Tensor, eps: float, norm: str = "linf") -> None:
    """Raise AssertionError unless each change is at most ``eps`` + 1e-6 and all is in [0, 1].

    The change of an image is measured in the norm, ``linf`` or ``l2``; in ℓ2 a millionth of it
    may be added for the rounding of sums.

    NaN is in no range: it is refused too, in either of them.
    """
    for name, images in (("attacked", attacked), ("clean", clean)):
        if images.isnan().any():
            raise AssertionError(f"the {name} images hold NaN; expected numbers in [0, 1]")
    change = (attacked - clean).flatten(1)
    worst = float(change.norm(dim=1).max() if norm == "l2" else change.abs().max())
    allowed = eps * (1 + 1e-6) if norm == "l2" else eps
    low, high = float(attacked.min()), float(attacked.max())
    if worst > allowed + 1e-6 or low < 0 or high > 1:
        raise AssertionError(
            f"the attack left its box: change {worst:.6f} of {eps:.6f}, range [{low:g}, {high:g}]"
        )


@dataclass
class Tally:
    """Right answers of one victim.

    Attributes:
        total: Images seen.
        correct: Right answers by condition.
        survived: Images right when clean and still right, by condition.
    """

    total: int = 0
    correct: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CONDITIONS, 0))
    survived: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CONDITIONS, 0))

    def add(self, hits: Mapping[str, Tensor]) -> None:
        """Count one batch; ``hits`` are N booleans by condition."""
        self.total += len(hits["clean"])
        for name, hit in hits.items():
            self.correct[name] += int(hit.sum())
            self.survived[name] += int((hit & hits["clean"]).sum())

    def accuracy(self) -> dict[str, float]:
        """Share of right answers by condition."""
        return {name: count / max(self.total, 1) for name, count in self.correct.items()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % Wilson intervals of :meth:`accuracy`."""
        from nrpurify.results import wilson_interval  # `attack` counts nothing and needs no results

        return {name: wilson_interval(n, self.total) for name, n in self.correct.items()}

    def conditional_success(self) -> dict[str, float]:
        """Share of images that were right when clean and no longer are, by condition."""
        base = max(self.correct["clean"], 1)
        return {name: 1 - n / base for name, n in self.survived.items() if name != "clean"}


Observer = Callable[[Views, dict[str, dict[str, Tensor]]], None]
"""Sees each batch's views and the logits by victim and condition."""


@torch.no_grad()
def evaluate(
    batches: Iterable[Batch],
    victims: Mapping[str, nn.Module],
    *,
    attack: Attack,
    purifier: ImageMap,
    eps: float,
    observe: Observer | None = None,
    defense: str = "purifier",
) -> dict[str, Tally]:
    """Count right answers under the four conditions: clean, attacked, purified, purified clean.

    Args:
        batches: Images with labels.
        victims: Classifiers by name; each returns N×classes logits.
        attack: Maps a batch to its attacked images.
        purifier: Maps images to purified ones.
        eps: The attack's budget; the harness checks it.
        observe: Called after each batch.
        defense: The purifier's name in errors.

    Raises:
        InputError: A label that a victim has no class for, or purified images or logits that are
            not finite.
    """
    tallies = {name: Tally() for name in victims}
    for batch in batches:
        views = Views.of(batch, attack, purifier, eps, defense)
        logits = {name: _logits(victim, views, name, defense) for name, victim in victims.items()}
        for name, by_view in logits.items():
            tallies[name].add({v: out.argmax(1) == batch.labels for v, out in by_view.items()})
        if observe is not None:
            observe(views, logits)
    return tallies


def _logits(victim: nn.Module, views: Views, name: str, defense: str) -> dict[str, Tensor]:
    found = {view: victim(images) for view, images in views.images.items()}
    for view, logits in found.items():
        before = defense if view.startswith("purified") else "none"
        check_finite(logits, views.names, f"logits of {name}", before)
    classes, worst = found["clean"].shape[1], int(views.labels.max())
    if worst >= classes or int(views.labels.min()) < 0:
        raise InputError(f"label {worst} given; {name} has classes 0 to {classes - 1}")
    return found


def summarize(tallies: Mapping[str, Tally], settings: Mapping[str, object]) -> dict[str, object]:
    """The result as plain values, for JSON.

    Keys: ``n``, ``settings``, ``victims`` (accuracy by condition), ``mean`` (over the victims),
    ``intervals`` (95 %, Wilson), ``conditional_success`` (see :class:`Tally`).
    """
    accuracy = {name: tally.accuracy() for name, tally in tallies.items()}
    mean = {c: sum(a[c] for a in accuracy.values()) / len(accuracy) for c in CONDITIONS}
    return {
        "n": next(iter(tallies.values())).total,
        "settings": dict(settings),
        "victims": accuracy,
        "mean": mean,
        "intervals": {name: tally.intervals() for name, tally in tallies.items()},
        "conditional_success": {n: tally.conditional_success() for n, tally in tallies.items()},
    }
