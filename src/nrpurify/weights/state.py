"""State dicts in the cache: reading them, and the hash of their values."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nrpurify.core.errors import WeightsError


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        WeightsError: the file is broken.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {error}") from error


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and values of a state dict, in name order.

    Unlike the hash of a file it does not depend on the version of the library that wrote it.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        values, kind = _plain(tensor)
        digest.update(f"{name} {kind} {tuple(tensor.shape)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _plain(tensor: Tensor) -> tuple[np.ndarray, str]:
    """A tensor's values, or bytes where numpy lacks its type (bfloat16), and what they are."""
    try:
        values = tensor.numpy()
    except TypeError:
        return tensor.reshape(-1).view(torch.uint8).numpy(), str(tensor.dtype)
    return values, values.dtype.str
