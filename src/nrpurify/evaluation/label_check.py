"""Whether labels fit the victims: asked of a first small batch, before hours are spent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nrpurify.core.config import Place, RecipeError
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.predictions import check_finite
from nrpurify.results import wilson_interval

FIRST = 32
"""Images of the first small batch."""
_LEAST = 5
_FEW, _MANY = 0.1, 0.25
"""Neighboring classes look alike, so labels that are off by one are right now and then."""
_SHIFTS = ((-1, 1, 0), (+1, 0, 1))
"""Added to the labels, where they count from then, and from where they were read as if."""
_PLACE: Place = ("data", "labels")


def at_chance(correct: int, total: int, classes: int) -> bool:
    """Whether so many right answers are no better than guessing among so many classes.

    Judged by the lower end of the 95 % Wilson interval; fewer than five answers say nothing.
    """
    return total >= _LEAST and wilson_interval(correct, total)[0] <= 1 / classes


def check_labels(
    victims: Mapping[str, nn.Module], batch: Batch, highest: int, *, chance: bool
) -> dict[str, int]:
    """Compare labels with what the undefended victims say.

    Args:
        victims: Classifiers by name.
        batch: The first images.
        highest: The highest label of all images.
        chance: Whether to refuse when all victims together are no better than chance, or when few
            labels fit as given and far more when they count from another number.

    Returns:
        The number of classes of each victim.

    Raises:
        RecipeError: A label without a class, or answers that do not fit; when labels that count
            from another number explain it, that is said.
    """
    guesses, classes = asked(victims, batch.images)
    name = min(classes, key=classes.__getitem__)
    if highest >= classes[name]:
        text = f"label {highest} (counted from 0); {name} has classes 0 to {classes[name] - 1}"
        raise RecipeError((_PLACE, text))
    if chance and (doubt := label_doubt(guesses, batch.labels, classes[name])):
        text = f"{doubt} (--no-check-labels, in a plan data.check_labels: false, goes on)"
        raise RecipeError((_PLACE, text))
    return classes


@torch.no_grad()
def asked(victims: Mapping[str, nn.Module], images: Tensor) -> tuple[Tensor, dict[str, int]]:
    """V×N classes that V victims say of N×3×H×W images, and how many classes each knows."""
    answers = {name: victim(images) for name, victim in victims.items()}
    for name, scores in answers.items():
        places = [f"image {number}" for number in range(1, len(images) + 1)]
        check_finite(scores, places, f"logits of {name}", "none")
    classes = {name: scores.shape[1] for name, scores in answers.items()}
    return torch.stack([scores.argmax(1) for scores in answers.values()]), classes


def label_doubt(guesses: Tensor, labels: Tensor, classes: int) -> str | None:
    """What speaks against labels, None if nothing does.

    Args:
        guesses: V×N classes that undefended victims say, or N of one.
        labels: N labels from 0.
        classes: How many there are.
    """
    total, right = guesses.numel(), _right(guesses, labels)
    found = f"{right} of {total} answers of the undefended victims are right"
    shift, counted, said = max(_SHIFTS, key=lambda row: _right(guesses, labels + row[0]))
    shifted = _right(guesses, labels + shift)
    chance = at_chance(right, total, classes)
    better = total >= _LEAST and right < _FEW * total and shifted > _MANY * total
    if better or (chance and not at_chance(shifted, total, classes)):
        return (
            f"{found}; with each label one {'lower' if shift < 0 else 'higher'}, {shifted} would "
            f"be: the labels count from {counted} and were read as if they counted from {said}; "
            "'ImageId,TrueLabel' is the header of labels from 1, 'image,label' of those from 0"
        )
    if chance:
        return f"{found}, no better than chance: are the labels those of the victims' classes?"
    return None


def _right(guesses: Tensor, labels: Tensor) -> int:
    return int((guesses == labels).sum())
