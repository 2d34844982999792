"""A user's weights for a network, read without running code in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.torch_files import load_state

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."


def load_checkpoint(network: nn.Module, file: Path, name: str) -> None:
    """Load a state dict into a network.

    A wrapping entry ``state_dict``, ``model_state_dict`` or ``model`` and the prefix ``module.`` of
    DataParallel are taken off.

    Args:
        network: Its tensors are replaced.
        file: Of safetensors, or of ``torch.save``, read by ``weights_only=True``.
        name: Of the network, for messages.

    Raises:
        InputError: There is no such file.
        WeightsError: It cannot be read, or its tensors are not the network's.
    """
    if not file.is_file():
        raise InputError(f"{name}: no file {str(file)!r}; expected a checkpoint")
    state = _read(file)
    prefixed = bool(state) and all(key.startswith(_PREFIX) for key in state)
    if prefixed:
        state = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items()}
    if problem := _mismatch(network.state_dict(), state):
        raise WeightsError(f"{file} does not fit {name}: {problem}")
    network.load_state_dict(state)


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            found = load_state(file)
    except WeightsError:
        raise
    except Exception as error:  # unpickling raises anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise WeightsError(
            f"{file} cannot be read as weights alone ({type(error).__name__}: {reason:.200}); "
            "expected a state dict, of safetensors or torch.save(model.state_dict(), FILE)"
        ) from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(map(_is_named_tensor, found.items())):
        raise WeightsError(f"{file} holds no state dict; expected names with a plain tensor each")
    return dict(found)


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    """Whether it is a name with a tensor that holds all its values, no sparse or empty one."""
    name, value = item
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return isinstance(name, str) and plain


def _mismatch(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How two state dicts differ, in a few words; empty where they do not."""
    if not expected:
        return "it has no weights"
    missing = [key for key in expected if key not in state]
    more = [key for key in state if key not in expected]
    if missing or more:
        texts = [
            f"{len(keys)} tensors {what}, such as {keys[0]}"
            for keys, what in ((missing, "missing"), (more, "unexpected"))
            if keys
        ]
        return "; ".join(texts)
    for key, tensor in state.items():
        wanted = expected[key]
        if tensor.shape != wanted.shape:
            return f"{key} is {tuple(tensor.shape)}; expected {tuple(wanted.shape)}"
        if not wanted.is_floating_point():
            continue
        if not tensor.is_floating_point():
            return f"{key} is {tensor.dtype}; expected {wanted.dtype}"
        if not tensor.to(wanted.dtype).isfinite().all():
            return f"{key} has NaN or infinite values in {wanted.dtype}"
    return ""
