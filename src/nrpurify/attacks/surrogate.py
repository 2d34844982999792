"""Surrogates as attacks need them: frozen, asked in their own precision, their answers checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.precision import weights_dtype

Model = Callable[[Tensor], Tensor]
"""A classifier, usually a module: N×3×H×W images in [0, 1] to N×classes logits."""


_LOCK = RLock()
_HELD: dict[int, _Held] = {}
"""Frozen modules and weights by their id; an entry lives as long as somebody uses it."""
_NO_VIEW = "view size is not compatible"
"""In torch's message about a view that there is not."""


@dataclass
class _Held:
    """A frozen module or weight, its mode or flag before that, and how many blocks use it."""

    owner: nn.Module | nn.Parameter
    before: bool
    users: int = 0
    views: bool = False
    """Whether it is or belongs to a module that takes views, which channels-last tensors lack."""
    data: Tensor | None = None
    """The weight's values as they lay in memory, where they lie channels last meanwhile."""


@contextmanager
def frozen(*models: object) -> Iterator[None]:
    """Put modules into eval mode and switch their weight gradients off while the block runs.

    Blocks may be nested and run in several threads at once, also on models that share modules or
    weights: after the last of them, also after an error, each submodule has the ``training`` that
    it had before the first, and each parameter its ``requires_grad`` and its place in memory.

    Args:
        models: Modules; whatever else is given, such as a plain function, is left alone.
    """
    roots = [model for model in models if isinstance(model, nn.Module)]
    with _LOCK:
        modules = [module for root in roots for module in root.modules()]
        # those made in inference mode never get a gradient, and their flags cannot be changed
        weights = [w for root in roots for w in root.parameters() if not w.is_inference()]
        held = [_hold(module, module.training) for module in modules]
        held += [_hold(weight, weight.requires_grad) for weight in weights]
        for root in roots:  # setting what is set takes longer than looking
            if any(module.training for module in root.modules()):
                root.eval()
        for weight in weights:
            if weight.requires_grad:
                weight.requires_grad_(False)
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
        if held.owner.training != held.before:
            held.owner.training = held.before
    else:
        held.owner.requires_grad_(held.before)
        if held.data is not None:
            held.owner.data = held.data


def for_convolutions(model: object, images: Tensor) -> Tensor:
    """Images channels last where the model is a module with convolutions on the CPU.

    They take a fifth less time so. The memory format goes on through most layers and comes back
    with the gradient. Weights of a frozen model lie channels last too until it is thawed: otherwise
    each convolution copies its own, forward and backward.
    """
    if images.device.type != "cpu" or not isinstance(model, nn.Module):
        return images
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        return images
    with _LOCK:
        for module in convolutions:
            if type(module) is nn.Conv2d:  # the forward of a subclass may need weights as they are
                _lay_out(module.weight)
    return images.contiguous(memory_format=torch.channels_last)


def _lay_out(weight: Tensor) -> None:
    held = _HELD.get(id(weight))
    if held is None or held.data is not None or held.views:
        return
    if type(weight.data) is Tensor:
        held.data = weight.data
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _put_back(model: nn.Module) -> None:
    """Let the weights of a model lie as before :func:`for_convolutions`, until it is thawed."""
    with _LOCK:
        for weight in model.parameters():
            held = _HELD.get(id(weight))
            if held is not None and held.data is not None:
                weight.data, held.data, held.views = held.data, None, True


def ask(model: Callable[[Tensor], Any], images: Tensor) -> Any:
    """What a model answers to images, however they lie in memory.

    Channels-last tensors have no views such as ``x.view(len(x), -1)``. A frozen model that needs
    them is asked again. From then until it is thawed, images and weights are contiguous.
    """
    held = _HELD.get(id(model))
    if held is not None and held.views:
        images = images.contiguous()
    try:
        return model(images)
    except RuntimeError as error:
        views = _NO_VIEW in str(error)
        if not views or not isinstance(model, nn.Module) or held is None or held.views:
            raise
        held.views = True
        _put_back(model)
        return model(images.contiguous())


def classify(model: Model, images: Tensor) -> Tensor:
    """Logits N×classes of N×3×H×W images, which are converted to the model's precision first.

    Raises:
        InputError: The model's output is not N×classes, or it has a single class.
    """
    dtype = weights_dtype(model, images) if isinstance(model, nn.Module) else images.dtype
    answer = ask(model, images.to(dtype))
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != len(images):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(
            f"the surrogate answered {shape} to {len(images)} images; expected logits of shape "
            f"({len(images)}, classes): wrap it so that it returns these"
        )
    if answer.shape[1] < 2:
        raise InputError(
            f"the surrogate answered {tuple(answer.shape)} to {len(images)} images; expected "
            "logits of at least two classes: a single logit z is those of "
            "torch.cat([torch.zeros_like(z), z], 1)"
        )
    return answer
