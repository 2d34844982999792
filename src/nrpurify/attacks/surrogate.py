"""Surrogates as attacks need them: frozen, asked in their own precision, their answers checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from nrpurify.errors import InputError

Model = Callable[[Tensor], Tensor]
"""A classifier, usually a module: N×3×H×W images in [0, 1] to N×classes logits."""


@contextmanager
def frozen(*models: object) -> Iterator[None]:
    """Put modules into eval mode and switch their weight gradients off while the block runs.

    Afterwards, also after an error, each submodule has its own ``training`` again and each
    parameter its own ``requires_grad``.

    Args:
        models: Modules; whatever else is given, such as a plain function, is left alone.
    """
    roots = [model for model in models if isinstance(model, nn.Module)]
    modes = [(module, module.training) for root in roots for module in root.modules()]
    weights = [(weight, weight.requires_grad) for root in roots for weight in root.parameters()]
    try:
        for root in roots:
            root.eval().requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, flag in weights:
            weight.requires_grad_(flag)


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
