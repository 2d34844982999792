"""Surrogates as attacks need them: frozen, asked in their own precision, their answers checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

from torch import Tensor, nn

from nrpurify.core.errors import InputError

Model = Callable[[Tensor], Tensor]
"""A classifier, usually a module: N×3×H×W images in [0, 1] to N×classes logits."""


_LOCK = RLock()
_HELD: dict[int, _Held] = {}
"""Frozen modules and weights by their id; an entry lives as long as somebody uses it."""


@dataclass
class _Held:
    """A frozen module or weight, its mode or flag before that, and how many blocks use it."""

    owner: nn.Module | nn.Parameter
    before: bool
    users: int = 0


@contextmanager
def frozen(*models: object) -> Iterator[None]:
    """Put modules into eval mode and switch their weight gradients off while the block runs.

    Blocks may be nested and run in several threads at once, also on models that share modules or
    weights: after the last of them, also after an error, each submodule has the ``training`` that
    it had before the first, and each parameter its ``requires_grad``.

    Args:
        models: Modules; whatever else is given, such as a plain function, is left alone.
    """
    roots = [model for model in models if isinstance(model, nn.Module)]
    with _LOCK:
        held = [_hold(module, module.training) for root in roots for module in root.modules()]
        held += [
            _hold(weight, weight.requires_grad) for root in roots for weight in root.parameters()
        ]
        for root in roots:
            root.eval().requires_grad_(False)
    try:
        yield
    finally:
        with _LOCK:
            for one in held:
                _release(one)


def _hold(owner: nn.Module | nn.Parameter, before: bool) -> _Held:
    held = _HELD.setdefault(id(owner), _Held(owner, before))
    held.users += 1
    return held


def _release(held: _Held) -> None:
    held.users -= 1
    if held.users:
        return
    del _HELD[id(held.owner)]
    if isinstance(held.owner, nn.Module):
        held.owner.training = held.before
    else:
        held.owner.requires_grad_(held.before)


def classify(model: Model, images: Tensor) -> Tensor:
    """Logits N×classes of N×3×H×W images, which are converted to the model's precision first.

    Raises:
        InputError: The model's output is not N×classes.
    """
    weight = next(model.parameters(), images) if isinstance(model, nn.Module) else images
    answer: Any = model(images.to(weight.dtype) if weight.is_floating_point() else images)
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != len(images):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(
            f"the surrogate answered {shape} to {len(images)} images; expected logits of shape "
            f"({len(images)}, classes): wrap it so that it returns these"
        )
    return answer
