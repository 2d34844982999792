"""Random defenses in tasks: the same draws under every condition, and answers over passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.defenses.chain import passes_of

ImageMap = Callable[[Tensor], Tensor]


class Draws:
    """The generators of a defense as they are now, so that it can draw the same again.

    A defense without a generator, which draws from torch's own, is left alone.

    Args:
        defense: Maps images to images; random or not.
    """

    def __init__(self, defense: ImageMap) -> None:
        modules = defense.modules() if isinstance(defense, nn.Module) else ()
        held = {getattr(module, "generator", None) for module in modules}
        self._states = [(one, one.get_state()) for one in held if isinstance(one, Generator)]

    def again(self) -> None:
        """Let it draw from here again."""
        for generator, state in self._states:
            generator.set_state(state)


def remembered(defenses: Mapping[str, ImageMap]) -> Callable[[], None]:
    """What lets all ``defenses`` draw again as they would now.

    Called before each condition, it makes a cell independent of what was measured before it.
    """
    every = [Draws(defense) for defense in defenses.values()]

    def again() -> None:
        for draws in every:
            draws.again()

    return again


def passes(defense: ImageMap) -> int:
    """How often a defense wants the model to be asked about an image."""
    return passes_of(defense)[0] if isinstance(defense, nn.Module) else 1


def check_one_pass(name: str, defense: ImageMap, task: str) -> None:
    """Raise InputError for a defense that wants several passes: boxes have no mean."""
    if (wanted := passes(defense)) > 1:
        raise InputError(
            f"{name} asks for {wanted} passes; detections of several passes cannot be averaged, so "
            f"{task} takes defenses with passes=1 (classify and segment average)"
        )


def scores(segmenter: ImageMap, defense: ImageMap, images: Tensor) -> Tensor:
    """A segmenter's N×classes×H×W answer behind a defense, over all passes that it wants.

    Several passes give the mean of the logits, or each class's share of the votes, as
    :func:`nrpurify.protect` does with classifiers; one pass gives the logits.

    Args:
        segmenter: Returns logits N×classes×H×W.
        defense: Maps images to images; its ``passes`` and ``combine`` are honored.
        images: N×3×H×W in [0, 1].
    """
    vote = getattr(defense, "combine", "mean") == "vote"
    if (count := passes(defense)) == 1:
        return segmenter(defense(images))
    total = torch.zeros(())
    for _ in range(count):
        logits = segmenter(defense(images))
        total = (_votes(logits) if vote else logits) + total.to(logits)
    return total / count


def _votes(logits: Tensor) -> Tensor:
    votes = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).to(logits)
    return votes.masked_fill(logits.isnan().any(1, keepdim=True), torch.nan)
