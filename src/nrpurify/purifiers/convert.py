"""Purifiers of the authors' own release, from their state dicts."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from nrpurify.core.errors import WeightsError
from nrpurify.core.torch_files import load_state
from nrpurify.purifiers.checkpoint import build_purifier, ready
from nrpurify.purifiers.purifier import Purifier

ROOM = 8
"""Times the design's own bytes that a file of the authors may hold: doubles, an optimizer."""


def convert_checkpoint(source: str | Path, name: str) -> Purifier:
    """Read a state dict of the authors' own release (``NRP.pth``, ``NRP_resG.pth``).

    Tensors are matched in order and by shape, after a ``module.`` prefix or a wrapping
    ``state_dict`` entry is taken off; the file is read without running any code in it, and not at
    all when it would fill far more memory than the design needs.

    Args:
        source: The ``.pth`` file.
        name: The design it belongs to: ``nrp`` or ``resg``.

    Raises:
        WeightsError: The file cannot be read safely, or its tensors are not the design's.
    """
    purifier = build_purifier(name)
    needed = sum(tensor.nbytes for tensor in purifier.network.state_dict().values())
    try:
        given = load_state(Path(source), ROOM * needed)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{source} cannot be read as a state dict: {error}") from error
    if isinstance(given, dict):
        given = given.get("state_dict", given)
    if not isinstance(given, dict) or not all(isinstance(v, Tensor) for v in given.values()):
        raise WeightsError(f"{source} holds no state dict; expected names with a tensor each")
    _copy_in_order(purifier.network, given, Path(source))
    return ready(purifier)


def _copy_in_order(network: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    if len(given) != len(expected):
        raise WeightsError(f"{path} has {len(given)} tensors; expected {len(expected)}")
    for (key, value), (name, target) in zip(given.items(), expected.items(), strict=True):
        if not _plain(value) or value.is_floating_point() != target.is_floating_point():
            kind = "floats" if target.is_floating_point() else "integers"
            raise WeightsError(
                f"{path}: {key} is {value.layout} of {value.dtype}; expected {name} as a dense "
                f"tensor of {kind}"
            )
        if value.shape != target.shape or str(key).rsplit(".", 1)[-1] != name.rsplit(".", 1)[-1]:
            raise WeightsError(
                f"{path}: {key} is {tuple(value.shape)}; expected {name} {tuple(target.shape)}"
            )
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {key} has NaN or infinite values; expected finite ones")
        target.copy_(value)


def _plain(tensor: Tensor) -> bool:
    """Whether it has values of its own in memory, one a place: not sparse, nested or complex."""
    dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized
    return dense and not tensor.is_meta and not tensor.is_complex()
