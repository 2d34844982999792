"""Random defenses: their generator, and the draws they make image by image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.random import check_generator, random_integer, uniform

Combine = Literal["mean", "vote"]


class RandomDefense(nn.Module):
    """A defense that draws anew for each image of each call.

    The draws come image after image out of one generator: the same seed gives the same, whatever
    the batch size.

    Args:
        passes: How often :func:`nrpurify.protect` asks the model about each image.
        combine: What it makes of the answers: their ``mean``, or a majority ``vote``.
        generator: A CPU generator; None for torch's own.

    Raises:
        InputError: Fewer than one pass, another word for ``combine``, or another generator.
    """

    def __init__(self, passes: int, combine: Combine, generator: Generator | None) -> None:
        super().__init__()
        check_passes(passes, combine)
        check_generator(generator)
        self.passes, self.combine, self.generator = passes, combine, generator

    def defend_with_alpha(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Defend N×3×H×W images and move their N×1×H×W opacity by the same draws."""
        source = self.generator or torch.default_generator
        state = source.get_state()
        defended: Tensor = self(images)
        after = source.get_state()
        source.set_state(state)
        moved = self.move_alpha(alpha)
        source.set_state(after)
        return defended, moved

    def move_alpha(self, alpha: Tensor) -> Tensor:
        """N×1×H×W opacity in [0, 1], moved as the next call would move images; here it stays."""
        return alpha

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return uniform(low, high, self.generator)

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return random_integer(low, high, self.generator)


def check_passes(passes: int, combine: str) -> None:
    """Raise InputError unless there is a pass and a way to combine several."""
    if passes < 1:
        raise InputError(f"passes is {passes}; expected at least 1")
    if combine not in ("mean", "vote"):
        raise InputError(f"combine is {combine!r}; expected 'mean' or 'vote'")


def reseed(defense: nn.Module, generator: Generator) -> None:
    """Let all that is random in a defense draw from ``generator`` (on the CPU) from now on.

    What holds a generator, or None in its place, under that name is random; a network that goes by
    it is left alone.
    """
    for module in defense.modules():
        if isinstance(getattr(module, "generator", ()), Generator | None):
            module.generator = generator  # type: ignore[assignment]
