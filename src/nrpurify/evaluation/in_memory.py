"""``nrpurify.evaluate``: a plan, or images in memory with an attack and a purifier of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from numbers import Real
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from nrpurify.attacks.gradient import outside_inference
from nrpurify.attacks.surrogate import frozen
from nrpurify.core.callables import check_callable
from nrpurify.core.config import shown
from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_images
from nrpurify.core.spec import hint_of_255
from nrpurify.defenses.chain import passes_of
from nrpurify.defenses.create import as_defense
from nrpurify.evaluation.batches import Attack, Batch, ImageMap, check_budget
from nrpurify.evaluation.classification import Classify
from nrpurify.evaluation.metrics import Accuracy
from nrpurify.evaluation.plan import EvaluationPlan
from nrpurify.evaluation.predictions import predictions
from nrpurify.evaluation.runner import run
from nrpurify.results import Run, wilson_interval

CONDITIONS = ("clean", "attacked", "purified", "purified_clean")
Pair = tuple[Tensor, Tensor] | list[Tensor]
"""Images and labels, as a DataLoader gives them."""


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
        """Share of images that were right when clean and no longer are; NaN if none were."""
        clean = self.metrics["clean"].hits
        lost = {
            name: sum(before and not hit for before, hit in zip(clean, metric.hits, strict=True))
            for name, metric in self.metrics.items()
        }
        right = sum(clean)
        return {name: n / right if right else nan for name, n in lost.items() if name != "clean"}


Observer = Callable[[Views, dict[str, dict[str, Tensor]]], None]
"""Sees each batch's views and the logits by victim and condition."""


@overload
def evaluate(data: EvaluationPlan | str | Path, /, *args: Any, **options: Any) -> Run: ...


@overload
def evaluate(
    data: Iterable[Batch | Pair],
    victims: Mapping[str, nn.Module],
    /,
    *,
    attack: Attack,
    purifier: ImageMap | str | Path,
    eps: float,
    observe: Observer | None = None,
    defense: str = "purifier",
) -> dict[str, Tally]: ...


def evaluate(data: Any, /, *args: Any, **options: Any) -> Run | dict[str, Tally]:
    """Evaluate a plan, or images in memory.

    With a plan, the arguments are those of :func:`nrpurify.evaluation.runner.run`. Batches of
    images in memory are counted under four conditions: clean, attacked, purified, purified clean.
    Victims and purifier run in eval mode; their modes are restored afterwards.

    Args:
        data: A plan, a shipped one's name or a YAML file; or batches: each a
            :class:`~nrpurify.evaluation.batches.Batch`, or a pair of images and labels as a
            DataLoader gives it.
        args: For batches: ``victims``, classifiers by name that return N×classes logits.
        options: For batches: ``attack``, which maps a :class:`~nrpurify.evaluation.batches.Batch`
            to its attacked images: it may ask any model, follow gradients, or look images up by
            name; ``purifier``, as for :func:`nrpurify.protect`: a name or file, or what maps
            images to purified ones; ``eps``, the ℓ∞ budget in [0, 1], which is checked;
            ``observe``, which is called after each batch with its :class:`Views` and the logits;
            and ``defense``, the purifier's name in errors.

    Returns:
        The :class:`~nrpurify.results.Run` of a plan; for batches a :class:`Tally` by victim.

    Raises:
        InputError: A plan that cannot be used, an argument that is missing or of another kind, no
            image, a label that a victim has no class for, or predictions that are not finite.
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
    try:
        given = inspect.signature(_evaluate_batches).bind(data, *args, **options)
    except TypeError as error:
        raise InputError(
            f"evaluate() of images in memory: {error}; expected evaluate(batches, "
            "{'mine': model}, attack=..., purifier=..., eps=...)"
        ) from error
    return _evaluate_batches(*given.args, **given.kwargs)


def _evaluate_batches(
    batches: Iterable[Batch | Pair],
    victims: Mapping[str, nn.Module],
    *,
    attack: Attack,
    purifier: ImageMap | str | Path,
    eps: float,
    observe: Observer | None = None,
    defense: str = "purifier",
) -> dict[str, Tally]:
    _check_arguments(batches, victims, attack, eps)
    tallies = {name: Tally() for name in victims}
    task, none, behind = Classify(), nn.Identity(), as_defense(purifier)
    with frozen(behind, *victims.values()):
        for batch in _as_batches(batches):
            attacked = _attacked(attack, batch)
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
                views[condition] = seen.images if seen.passes == 1 else behind(images)
                for name, scores in found.items():
                    _check_labels(name, scores, batch.labels)
                    tallies[name].metrics[condition].update(scores, batch.labels.tolist())
                    logits[name][condition] = torch.as_tensor(scores)
            if observe is not None:
                observe(Views(views, batch.labels, batch.names), logits)
    return tallies


def _check_arguments(batches: object, victims: object, attack: object, eps: object) -> None:
    if not isinstance(batches, Iterable):
        raise InputError(f"{shown(batches)} given; expected a plan, a plan's name, or batches")
    if not isinstance(victims, Mapping):
        raise InputError(
            f"victims is a {type(victims).__name__}; expected models by name: {{'mine': model}}"
        )
    for name, victim in victims.items():
        check_callable(victim, f"the victim {name}")
    expected = (
        "a function from a Batch to its attacked images, such as "
        "lambda batch: attack(model, batch.images, batch.labels, eps=eps)"
    )
    check_callable(attack, "attack", expected)
    try:
        inspect.signature(attack).bind(None)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"attack takes more than a batch: {error}; expected {expected}") from error
    if not isinstance(eps, Real) or isinstance(eps, bool):
        raise InputError(f"eps is {shown(eps)}; expected a number, such as 8/255")
    if not 0 <= float(eps) <= 1:
        raise InputError(f"eps is {eps}; expected a number from 0 to 1{hint_of_255(float(eps))}")


def _as_batches(given: Iterable[Batch | Pair]) -> Iterator[Batch]:
    """Batches with names, the images' numbers from 1 where none are given."""
    seen = 0
    for batch in given:
        inside: list[Any] = list(batch) if isinstance(batch, tuple | list) else []
        if len(inside) < 2 or not all(isinstance(one, Tensor) for one in inside[:2]):
            kinds = ", ".join(type(one).__name__ for one in inside)
            raise InputError(
                f"the batches hold a {type(batch).__name__}{f' of {kinds}' if kinds else ''}; "
                "expected Batch(images, labels, names), or pairs of tensors: images and labels"
            )
        images, labels = inside[:2]
        check_images(images, "the batch")
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise InputError(
                f"labels of shape {tuple(labels.shape)} and {labels.dtype} given for {len(images)} "
                "images; expected one whole number an image"
            )
        names = [f"image {number}" for number in range(seen + 1, seen + len(images) + 1)]
        seen += len(images)
        yield batch if isinstance(batch, Batch) else Batch(images, labels, names)
    if not seen:
        raise InputError(
            "batches holds no image; expected some: a generator gives its batches only once"
        )


def _attacked(attack: Attack, batch: Batch) -> Tensor:
    """What an attack, which may follow gradients, makes of a batch."""
    with torch.inference_mode(False), torch.enable_grad():
        found = attack(Batch(*map(outside_inference, batch)))
    shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
    if shape != tuple(batch.images.shape):
        raise InputError(
            f"attack returned {shape}; expected attacked images {tuple(batch.images.shape)}"
        )
    return found.detach()


class _Last(nn.Module):
    """A defense that keeps its last images."""

    def __init__(self, defense: nn.Module) -> None:
        super().__init__()
        self.defense = defense
        self.passes, self.combine = passes_of(defense)
        self.images = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.images = self.defense(images)
        return self.images


def _check_labels(name: str, scores: Any, labels: Tensor) -> None:
    classes = scores.shape[1]
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(f"label {int(wrong[0])} given; {name} has classes 0 to {classes - 1}")
