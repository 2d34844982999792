"""Whether labels fit the victims: asked of a first small batch, before hours are spent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nrpurify.evaluation.harness import Batch
from nrpurify.evaluation.metrics import wilson_interval
from nrpurify.recipe_files import Place, RecipeError

FIRST = 32
"""Images of the first small batch."""
_LEAST = 5
_PLACE: Place = ("images", "labels")


def at_chance(correct: int, total: int, classes: int) -> bool:
    """Whether so many right answers are no better than guessing among so many classes.

    Judged by the lower end of the 95 % Wilson interval; fewer than five answers say nothing.
    """
    return total >= _LEAST and wilson_interval(correct, total)[0] <= 1 / classes


@torch.no_grad()
def check_labels(
    victims: Mapping[str, nn.Module], batch: Batch, highest: int, *, chance: bool
) -> dict[str, int]:
    """Compare labels with what the undefended victims say.

    Args:
        victims: Classifiers by name.
        batch: The first images.
        highest: The highest label of all images.
        chance: Whether to refuse when all victims together are no better than chance.

    Returns:
        The number of classes of each victim.

    Raises:
        RecipeError: A label without a class, or answers at chance; when labels that count from
            another number explain it, that is said.
    """
    answers = {name: victim(batch.images) for name, victim in victims.items()}
    classes = {name: scores.shape[1] for name, scores in answers.items()}
    name = min(classes, key=classes.__getitem__)
    if highest >= classes[name]:
        text = f"label {highest} (counted from 0); {name} has classes 0 to {classes[name] - 1}"
        raise RecipeError((_PLACE, text))
    guesses = torch.stack([scores.argmax(1) for scores in answers.values()])
    right = _right(guesses, batch.labels)
    if chance and at_chance(right, guesses.numel(), classes[name]):
        text = (
            f"{right} of {guesses.numel()} answers of the undefended victims are right, no better "
            f"than chance: {_explanation(guesses, batch.labels, classes[name])} "
            "(images.check_labels: false goes on all the same)"
        )
        raise RecipeError((_PLACE, text))
    return classes


def _right(guesses: Tensor, labels: Tensor) -> int:
    return int((guesses == labels).sum())


def _explanation(guesses: Tensor, labels: Tensor, classes: int) -> str:
    for shift, counted, said in ((-1, 1, 0), (+1, 0, 1)):
        right = _right(guesses, labels + shift)
        if not at_chance(right, guesses.numel(), classes):
            return (
                f"with labels {shift:+d} it were {right}, so they count from {counted} and were "
                f"read as if from {said}; 'ImageId,TrueLabel' is the header of labels from 1, "
                "'image,label' of those from 0"
            )
    return "are the labels those of the victims' classes?"
