"""Safetensors files that carry a card and the hash of their tensors; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nrpurify.errors import WeightsError
from nrpurify.files import atomic_path
from nrpurify.purifiers.card import Card, tensors_hash


def write_carded(
    path: str | Path, tensors: Mapping[str, Tensor], card: Card, *, dtype: torch.dtype
) -> Card:
    """Write tensors and their card, whole or not at all.

    Args:
        path: Where to.
        tensors: By name.
        card: What they are.
        dtype: Type of what is stored.

    Returns:
        The card as written, with the hash of the tensors.
    """
    stored = {n: value.detach().to("cpu", dtype).contiguous() for n, value in tensors.items()}
    card = card.with_hash(stored)
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata={"format": "pt", "card": card.to_json()})
    return card


def read_carded(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Read what :func:`write_carded` wrote; the tensors become fp32.

    Raises:
        WeightsError: No safetensors file, one without a card, or one that is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}") from error
    if "card" not in metadata:
        raise WeightsError(f"{path} has no model card; expected a file written by nrpurify")
    card = Card.from_json(metadata["card"])
    if tensors_hash(tensors) != card.sha256:
        raise WeightsError(f"{path} is damaged: its tensors do not have the hash on its card")
    return card, {name: value.float() for name, value in tensors.items()}
