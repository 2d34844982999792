"""Wrappers with which any gradient attack faces a defense: BPDA and EOT.

``Protected(model, BPDA(defense))`` attacks through a defense without usable gradients,
``EOT(Protected(model, defense), draws=30)`` through a random one; both go together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.surrogate import classify
from nrpurify.core.errors import InputError


class _Substitute(torch.autograd.Function):
    """Forward the second tensor, hand the gradient to the first."""

    @staticmethod
    def forward(ctx: Any, differentiable: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class BPDA(nn.Module):
    """A defense that answers as it does, with a gradient of something else (Athalye et al., 2018).

    Args:
        defense: Maps N×3×H×W images in [0, 1] to the same; need not be differentiable.
        surrogate: Whose gradient is used, for instance a purifier of one's own (Table 3's
            attacker); None for that of the identity.

    Raises:
        InputError: When called: the defense changes the shape, and the surrogate differently.
    """

    def __init__(self, defense: nn.Module, surrogate: nn.Module | None = None) -> None:
        super().__init__()
        self.defense = defense
        self.surrogate = surrogate or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """What the defense makes of the images."""
        with torch.no_grad():
            defended = self.defense(images)
        approximate: Tensor = self.surrogate(images)
        if approximate.shape != defended.shape:
            raise InputError(
                f"the defense makes {tuple(images.shape)} into {tuple(defended.shape)}, its "
                f"surrogate into {tuple(approximate.shape)}; expected one shape"
            )
        substituted: Tensor = _Substitute.apply(approximate, defended.to(approximate.dtype))
        return substituted


class EOT(nn.Module):
    """A random classifier that is asked several times a step (Athalye et al., 2018).

    The attacks of this package average the loss, and so its gradient, over the draws; called as a
    classifier it answers with the mean of the logits. It goes outermost, around ensemble and
    defense.

    Args:
        model: A classifier that answers differently each time.
        draws: How often it is asked for one gradient; report the number with the results.
        batched: Ask once with all draws in one batch. Set to False for defenses that draw once a
            batch, or the draws of an image are all the same.

    Raises:
        InputError: Fewer than one draw.
    """

    def __init__(self, model: nn.Module, draws: int, *, batched: bool = True) -> None:
        super().__init__()
        if draws < 1:
            raise InputError(f"draws is {draws}; expected at least 1")
        self.model, self.draws, self.batched = model, draws, batched

    def each(self, images: Tensor) -> Tensor:
        """Logits N×draws×classes of N×3×H×W images in [0, 1]."""
        if not self.batched:
            return torch.stack([classify(self.model, images) for _ in range(self.draws)], 1)
        rows = classify(self.model, images.repeat_interleave(self.draws, 0))
        return rows.view(len(images), self.draws, -1)

    def forward(self, images: Tensor) -> Tensor:
        """Mean logits N×classes of N×3×H×W images in [0, 1]."""
        return self.each(images).mean(1)
