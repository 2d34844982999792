"""Model cards: what a checkpoint is, what it was trained on, and how well it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import tensors_hash

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Card:
    """The description that travels inside every checkpoint.

    Attributes:
        name: Name of the purifier.
        architecture: A name that :data:`nrpurify.purifiers.registry.register_purifier` was given.
        arguments: The architecture's arguments.
        training: Data, settings and cost of the training.
        metrics: What was measured, with the data it was measured on.
        license: Of the weights.
        sha256: Of the tensors, see :func:`tensors_hash`; empty for untrained networks.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    license: str = "Apache-2.0"
    sha256: str = ""

    def with_hash(self, tensors: Mapping[str, Tensor]) -> Card:
        """The same card with the hash of ``tensors``."""
        return replace(self, sha256=tensors_hash(tensors))

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card back.

        Raises:
            WeightsError: The text is not a card.
        """
        try:
            card = cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"the model card cannot be read: {error}") from error
        for name, kind in _KINDS.items():
            if not isinstance(getattr(card, name), kind):
                given = type(getattr(card, name)).__name__
                raise WeightsError(
                    f"the model card cannot be read: its {name} is {given}; expected "
                    f"{kind.__name__}"
                )
        if not _plausible(card.arguments):
            raise WeightsError(
                f"the model card describes no network: {card.architecture!r:.99} with "
                f"{card.arguments!r:.99}; expected at most {_MOST} arguments, each a number from 1 "
                f"to {_LARGEST}, or up to 16 of them, and at most {_DEEPEST} blocks and levels"
            )
        return card


_KINDS = {
    "name": str,
    "architecture": str,
    "arguments": dict,
    "training": dict,
    "metrics": dict,
    "license": str,
    "sha256": str,
}
_LARGEST = 1024
_DEEPEST = 512
_MOST = 16


def _plausible(arguments: dict[str, Any]) -> bool:
    """Whether a network of these ``arguments`` can be laid out without harm."""
    values = [v if isinstance(v, list) else [v] for v in arguments.values()]
    fits = all(len(v) <= 16 and all(_is_size(n) for n in v) for v in values)
    return fits and len(arguments) <= _MOST and depth(arguments) <= _DEEPEST


def depth(arguments: Mapping[str, Any]) -> int:
    """The number of blocks and levels in a network's arguments; each has tensors of its own."""
    given = [v for name, v in arguments.items() if name.endswith(("blocks", "levels"))]
    return sum(sum(v) if isinstance(v, list) else int(v) for v in given)


def _is_size(number: object) -> bool:
    return isinstance(number, int) and 1 <= number <= _LARGEST
