"""SegNets on disk: safetensors with a card inside."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch

from nrpurify.core.checkpoint import fill, read_carded, write_carded
from nrpurify.core.errors import WeightsError
from nrpurify.core.model_card import Card
from nrpurify.models.segmenters.segnet import SegNetBasic

ARCHITECTURE = "segnet-basic"
_COUNTER = "num_batches_tracked"


def shipped_segmenters() -> dict[str, Path]:
    """The checkpoints that the package carries, by name."""
    folder = Path(str(resources.files("nrpurify.models"))) / "checkpoints"
    return {path.stem: path for path in sorted(folder.glob("segnet-*.safetensors"))}


def save_segnet(
    network: SegNetBasic, card: Card, path: str | Path, *, dtype: torch.dtype = torch.float16
) -> Card:
    """Write a SegNet-Basic and its card to ``path`` (safetensors), whole or not at all.

    Args:
        network: What to save; the counters of its batch norms are left out.
        card: Its description.
        path: Where to.
        dtype: Type of the stored weights.

    Returns:
        The card as written, with the hash of the tensors.
    """
    state = network.state_dict()
    tensors = {name: value for name, value in state.items() if not name.endswith(_COUNTER)}
    return write_carded(path, tensors, card, dtype=dtype)


def load_segnet(path: str | Path) -> tuple[SegNetBasic, Card]:
    """Read what :func:`save_segnet` wrote, in float32 and eval mode.

    Raises:
        WeightsError: The file is damaged, or is no SegNet-Basic of this package.
    """
    card, tensors = read_carded(Path(path))
    classes = card.arguments.get("num_classes")
    if card.architecture != ARCHITECTURE or not isinstance(classes, int):
        raise WeightsError(f"{path} holds {card.architecture!r}; expected {ARCHITECTURE!r}")
    network = SegNetBasic(classes)
    counters = {k: v for k, v in network.state_dict().items() if k.endswith(_COUNTER)}
    try:
        fill(network, {**counters, **tensors})
    except WeightsError as error:
        raise WeightsError(f"{path} does not fit its own card: {error}") from error
    return network.eval(), card
