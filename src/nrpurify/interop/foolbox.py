"""For foolbox (Rauber et al., 2017)."""

from __future__ import annotations

from typing import Any

import torch

from nrpurify.attacks.surrogate import Model
from nrpurify.interop.libraries import FOOLBOX, library
from nrpurify.interop.target import torch_model


def foolbox_model(model: Model, *, device: str | torch.device | None = None) -> Any:
    """A ``foolbox.PyTorchModel`` with bounds (0, 1) and no preprocessing of its own.

    >>> _, [found], success = attack(foolbox_model(protect(model)), images, labels,
    ...     epsilons=[8 / 255])  # doctest: +SKIP

    Args:
        model: Maps N×3×H×W images in [0, 1] to N×classes logits.
        device: See :func:`nrpurify.interop.torch_model`.

    Raises:
        MissingLibraryError: foolbox is not installed.
    """
    foolbox = library("foolbox", *FOOLBOX)
    target = torch_model(model, device=device)
    return foolbox.PyTorchModel(target, bounds=(0, 1), device=target.device)
