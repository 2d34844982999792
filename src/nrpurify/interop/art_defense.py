"""A defense as ART's preprocessor; this module imports ART, so nothing imports it at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.surrogate import frozen
from nrpurify.core.errors import InputError
from nrpurify.interop.libraries import ART, library

_Base: Any = library("art.defences.preprocessor.preprocessor", *ART).PreprocessorPyTorch


class DefensePreprocessor(_Base):  # type: ignore[misc]
    """Applied when ART predicts and attacks, not when it trains.

    ART's ``estimate_gradient`` goes through :meth:`forward` and so gives the true gradient.

    Args:
        defense: Maps N×3×H×W images in [0, 1] to the same.
        device_type: ART's ``cpu`` or ``gpu``.
    """

    def __init__(self, defense: nn.Module, device_type: str) -> None:
        super().__init__(
            device_type=device_type, is_fitted=True, apply_fit=False, apply_predict=True
        )
        self.defense = defense.to(self.device)

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        """Defended N×3×H×W images in [0, 1], and the labels as they came.

        Raises:
            InputError: A gradient is asked for and the defense has none.
        """
        with frozen(self.defense):
            defended: Tensor = self.defense(x)
        if torch.is_grad_enabled() and x.requires_grad and not defended.requires_grad:
            name = type(self.defense).__name__
            raise InputError(f"{name} has no gradient; give art_preprocessor a BPDA({name}(...))")
        return defended, y
