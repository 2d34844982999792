"""Several defenses, one after the other."""

from __future__ import annotations

from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.defenses.randomness import Combine
from nrpurify.defenses.registry import register_defense


@register_defense("none", source="no defense")
def no_defense() -> nn.Module:
    """The images as they are."""
    return nn.Identity()


class Chain(nn.Sequential):
    """Images pass through all ``parts`` in their order.

    Attributes:
        passes: The greatest number of passes that a part asks for.
        combine: What that part makes of the answers.

    Raises:
        InputError: Two parts want several passes and combine them differently.
    """

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(*parts)
        several = [passes_of(part) for part in parts if passes_of(part)[0] > 1]
        if len({combine for _, combine in several}) > 1:
            raise InputError(
                f"the chain's parts ask for {several}; expected one way to combine passes"
            )
        self.passes, self.combine = max(several, default=(1, "mean"))


def passes_of(defense: nn.Module) -> tuple[int, Combine]:
    """How often a defense wants the model to be asked, and what becomes of the answers."""
    passes, combine = getattr(defense, "passes", 1), getattr(defense, "combine", "mean")
    return passes, combine  # type: ignore[return-value]
