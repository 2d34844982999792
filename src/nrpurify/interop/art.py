"""For the Adversarial Robustness Toolbox (Nicolae et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nrpurify.attacks.surrogate import Model
from nrpurify.core.errors import InputError
from nrpurify.interop.libraries import ART, library
from nrpurify.interop.target import Target, torch_model


def art_classifier(
    model: Model,
    input_shape: Sequence[int],
    *,
    classes: int | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> Any:
    """A ``PyTorchClassifier`` with clip values (0, 1), no preprocessing and cross-entropy loss.

    Args:
        model: Maps N×3×H×W images in [0, 1] to N×classes logits.
        input_shape: 3, H, W.
        classes: Number of classes; by default the model is asked with a black image.
        device: See :func:`nrpurify.interop.torch_model`; on a machine with several GPUs ART itself
            uses the current one.
        options: Handed to ``PyTorchClassifier``, such as ``preprocessing_defences``.

    Raises:
        InputError: ``input_shape`` is not (3, H, W), or the model's output is not N×classes.
        MissingLibraryError: ART is not installed.
    """
    estimators = library("art.estimators.classification", *ART)
    shape = tuple(input_shape)
    if len(shape) != 3 or shape[0] != 3:
        raise InputError(f"input_shape is {shape}; expected (3, height, width)")
    target = torch_model(model, device=device)
    settings = {
        "loss": nn.CrossEntropyLoss(),
        "input_shape": shape,
        "nb_classes": classes or _count_classes(target, shape),
        "clip_values": (0.0, 1.0),
        "device_type": _device_type(target.device),
    }
    return estimators.PyTorchClassifier(target, **{**settings, **options})


def art_preprocessor(defense: nn.Module, *, device: str | torch.device = "cpu") -> Any:
    """A defense as ART's ``PreprocessorPyTorch``, for ``preprocessing_defences=[...]``.

    ART's attacks then see the defense's true gradient. For a defense that has none, or to make a
    BPDA attack of them, give ``nrpurify.attacks.BPDA(defense)``.

    Args:
        defense: Maps N×3×H×W images in [0, 1] to the same, such as a purifier. It is moved to
            ``device``.
        device: Where it works; as ART, any GPU means the current one.

    Raises:
        MissingLibraryError: ART is not installed.
    """
    from nrpurify.interop.art_defense import DefensePreprocessor

    return DefensePreprocessor(defense, _device_type(torch.device(device)))


@torch.no_grad()
def _count_classes(target: Target, shape: tuple[int, ...]) -> int:
    return target(torch.zeros(1, *shape, device=target.device)).shape[1]  # type: ignore[no-any-return]


def _device_type(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else "gpu"
