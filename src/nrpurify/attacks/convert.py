"""Generators of CDA's authors, from their state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nrpurify.attacks.generator import BLOCKS, GeneratorNet
from nrpurify.attacks.trained import GENERATOR
from nrpurify.core.checkpoint import write_carded
from nrpurify.core.errors import WeightsError
from nrpurify.core.model_card import Card
from nrpurify.weights.read import read_torch

_CONVERTED = {
    "encode.1": "block1.1",
    "encode.2": "block1.2",
    "encode.4": "block2.0",
    "encode.5": "block2.1",
    "encode.7": "block3.0",
    "encode.8": "block3.1",
    "decode.0": "upsampl1.0",
    "decode.1": "upsampl1.1",
    "decode.3": "upsampl2.0",
    "decode.4": "upsampl2.1",
    "decode.7": "blockf.1",
}
_CONVERTED_BLOCK = {"1": "1", "2": "2", "5": "6", "6": "7"}
"""Of a residual block; the authors' has a dropout in between."""


def convert_generator(source: str | Path, path: str | Path, *, name: str = "cda") -> Card:
    """Turn a generator of CDA's authors (a PyTorch state dict) into a file of this package.

    Args:
        source: Their ``.pth``, of 6 or 2 residual blocks; read without running any code in it.
        path: The safetensors file to write.
        name: Of the card, such as ``cda-comics``.

    Returns:
        The card as written.

    Raises:
        WeightsError: The file cannot be read safely, or its tensors are no generator's.
        OSError: The file cannot be written.
    """
    given = read_torch(Path(source))
    inner = given.get("state_dict", given)
    plain = isinstance(inner, Mapping) and all(isinstance(v, Tensor) for v in inner.values())
    named = inner.items() if plain else ()
    tensors = {str(key).removeprefix("module."): value for key, value in named}
    blocks = len({key.split(".")[0] for key in tensors if key.startswith("resblock")})
    first = tensors.get("block1.1.weight")
    if first is None or first.ndim != 4 or not 1 <= blocks <= max(BLOCKS.values()):
        raise WeightsError(
            f"{source} is no generator of CDA; expected the tensors block1.1.weight, "
            "resblock1.block.1.weight and so on, of at most 6 residual blocks"
        )
    arguments = {"blocks": blocks, "width": len(first)}
    with torch.device("meta"):
        network = GeneratorNet(**arguments)
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("_tracked")}
    theirs = {name: _their_name(name) for name in expected}
    kept = {key for key in tensors if not key.endswith("num_batches_tracked")}
    if odd := sorted(kept ^ set(theirs.values())):
        raise WeightsError(f"{source}: {odd[0]} is missing, or one too many")
    for own, other in theirs.items():
        if tensors[other].shape != expected[own].shape:
            raise WeightsError(
                f"{source}: {other} is {tuple(tensors[other].shape)}; expected "
                f"{tuple(expected[own].shape)}"
            )
    converted = {own: tensors[other] for own, other in theirs.items()}
    origin = {"converted_from": Path(source).name}
    card = Card(name, GENERATOR, arguments, training=origin, license="its authors'")
    return write_carded(path, converted, card, dtype=torch.float32)


def _their_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if layer in _CONVERTED:
        return f"{_CONVERTED[layer]}.{kind}"
    _, block, _, part = layer.split(".")  # blocks.0.body.1
    return f"resblock{int(block) + 1}.block.{_CONVERTED_BLOCK[part]}.{kind}"
