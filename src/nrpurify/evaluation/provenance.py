"""What decided a result: versions, arithmetic, and the hashes of all weights in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from torch import nn

from nrpurify.core.precision import Amp, arithmetic
from nrpurify.core.versions import environment, recorded_plugins
from nrpurify.purifiers import Card


def provenance(*, seed: int, amp: Amp = False, device: str = "cpu") -> dict[str, Any]:
    """The fields of a :class:`nrpurify.results.Run` that tell how it was made.

    Args:
        seed: Start of everything random.
        amp: bf16 autocast where it was allowed.
        device: Where the work was done.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": environment(device),
        **recorded_plugins(),
        "seed": seed,
        "precision": arithmetic(amp, device),
    }


_RUNS = ("recipe", "before")
"""Of a card's training: the last run's recipe, and the runs that it went on from."""


def networks_seen(defense: nn.Module) -> tuple[str, ...]:
    """Networks named in the training recipes, earlier runs' too, of the cards inside a defense."""
    cards = [getattr(module, "card", None) for module in defense.modules()]
    runs = [card.training.get(key) for card in cards if isinstance(card, Card) for key in _RUNS]
    return tuple(sorted({name for run in runs for name in _networks(run)}))


def _networks(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("network", "guide") and isinstance(value, str) and value:
                yield value
            elif key == "networks":
                yield from value
            yield from _networks(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _networks(value)
