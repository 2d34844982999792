"""Safetensors files that carry a card and the hash of their tensors; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nrpurify.core.errors import WeightsError
from nrpurify.core.files import atomic_path
from nrpurify.core.hashing import tensors_hash
from nrpurify.core.model_card import Card, depth


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

    Raises:
        OSError: The file cannot be written.
        WeightsError: NaN or infinity among the values, which no file keeps.
    """
    stored = {n: value.detach().to("cpu", dtype).contiguous() for n, value in tensors.items()}
    for name, value in stored.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"{path}: {name} has NaN or infinite values in {dtype}, so nothing was written; "
                "expected finite ones: the training diverged, or take another dtype"
            )
    card = card.with_hash(stored)
    with atomic_path(path) as temporary:
        metadata = {"format": "pt", "card": card.to_json()}
        try:
            save_file(stored, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {str(path)!r}: {error}") from error
    return card


def read_carded(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Read what :func:`write_carded` wrote; the tensors become fp32.

    Raises:
        WeightsError: No safetensors file, one without a card, one that is damaged, one with NaN or
            infinity in it, or one with fewer tensors than its card has blocks.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}") from error
    if "card" not in metadata:
        raise WeightsError(f"{path} has no model card; expected a file written by nrpurify")
    try:
        card = Card.from_json(metadata["card"])
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; take a whole copy of the file") from error
    if tensors_hash(tensors) != card.sha256:
        raise WeightsError(f"{path} is damaged: its tensors do not have the hash on its card")
    tensors = {name: value.float() for name, value in tensors.items()}
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {name:.99} has NaN or infinite values; train it again")
    if depth(card.arguments) > len(tensors):
        raise WeightsError(
            f"{path} does not fit its own card: {len(tensors)} tensors for "
            f"{depth(card.arguments)} blocks"
        )
    return card, tensors


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network the tensors of a file, which take the place of its own.

    Raises:
        WeightsError: Names or shapes differ; the first ones are named.
    """
    expected = {name: value.shape for name, value in network.state_dict().items()}
    missing, unknown = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    for what, names in (("misses", missing), ("has unknown", unknown)):
        if names:
            first = ", ".join(f"{name:.99}" for name in sorted(names)[:3])
            raise WeightsError(f"it {what} {len(names)} tensors, such as {first}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            given = tuple(tensors[name].shape)
            raise WeightsError(f"{name} has shape {given}; expected {tuple(shape)}")
    network.load_state_dict(dict(tensors), assign=True)
