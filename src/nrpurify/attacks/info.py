"""Facts about an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["classifier", "features", "scores", "none"]


@dataclass(frozen=True)
class AttackInfo:
    """Facts about an attack.

    Attributes:
        name: What commands and plans call it.
        source: Where it was published.
        needs: Its ``model``: a ``classifier`` with gradients, a network for ``features``, a
            classifier of which it sees ``scores`` only, or ``none``.
        label_free: Whether it uses no labels though it works on a classifier.
        targeted: Whether it can lead toward targets.
        norms: Of the budgets that it supports.
    """

    name: str = "attack"
    source: str = ""
    needs: Needs = "classifier"
    label_free: bool = False
    targeted: bool = True
    norms: tuple[str, ...] = ("linf", "l2")

    @property
    def labels(self) -> bool:
        """Whether it uses labels; without any it takes the model's predictions."""
        return uses_labels(self.needs, self.label_free)


def uses_labels(needs: Needs, label_free: bool) -> bool:
    """Whether an attack uses labels; see :class:`AttackInfo`."""
    return needs in ("classifier", "scores") and not label_free
