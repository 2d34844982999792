"""Around every attack that follows gradients: inference mode is left, gradients are counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from nrpurify.attacks.gradient_log import counting
from nrpurify.core.errors import InputError

P = ParamSpec("P")


def with_gradients(attack: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Let an attack follow gradients also when it is called inside ``torch.inference_mode()``.

    That mode is left while the attack runs; tensors that were made in it are copied. The images are
    the second argument; gradients of them that lead nowhere are counted, see
    :mod:`nrpurify.attacks.gradient_log`.

    Raises:
        InputError: When called: weights of a module were made in it, which never get a gradient.
    """

    @wraps(attack)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        inside = torch.is_inference_mode_enabled()
        with torch.inference_mode(False) if inside else nullcontext():
            given = [_usable(value) for value in args]
            named = {name: _usable(value) for name, value in kwargs.items()}
            images = named.get("images", given[1] if len(given) > 1 else None)
            with counting(images):
                return attack(*given, **named)

    return run


def _usable(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_inference():
        return value.clone()
    if isinstance(value, nn.Module) and any(tensor.is_inference() for tensor in _state(value)):
        raise InputError(
            f"the weights of the {type(value).__name__} were made inside torch.inference_mode(), "
            "so no gradient leads through it; make or load the model outside of that mode"
        )
    return value


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
