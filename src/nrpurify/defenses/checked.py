"""A defense that somebody else wrote: its outputs are checked, and its errors name it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_range
from nrpurify.core.registry import naming_plugin
from nrpurify.core.tracing import has_values
from nrpurify.defenses.chain import passes_of

_TOLERANCE = 1e-3


class Checked(nn.Module):
    """A defense of a plug-in.

    Attributes that it does not have itself are read from the defense.

    Args:
        defense: Maps N×3×H×W images in [0, 1] to N×3×H'×W' ones.
        name: As in specs.
        origin: The plug-in's module.

    Raises:
        InputError: When called: the defense returns no images, or NaN, infinite values or values
            outside of [0, 1].
        PluginError: When called: the defense fails; the message names it.
    """

    def __init__(self, defense: nn.Module, name: str, origin: str) -> None:
        super().__init__()
        self.defense, self.name, self.origin = defense, name, origin
        self.passes, self.combine = passes_of(defense)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to N×3×H'×W' ones in [0, 1]."""
        with naming_plugin(self.name, self.origin):
            defended = self.defense(images)
        check_defended(defended, images, f"{self.name} of the plug-in {self.origin}")
        return defended  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """What the module itself has, else what the defense has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            defense = self.__dict__.get("_modules", {}).get("defense")
            if defense is None or name.startswith("__"):
                raise
            return getattr(defense, name)


def check_defended(defended: Any, images: Tensor, name: str) -> None:
    """Check what a defense made of N×3×H×W images; height and width may differ.

    Raises:
        InputError: No N×3×H'×W' floats, or NaN, infinite values or values outside of [0, 1].
    """
    count = images.shape[0]  # len() would fix the batch of an export
    shaped = isinstance(defended, Tensor) and defended.ndim == 4
    if not shaped or defended.shape[:2] != (count, 3) or not defended.is_floating_point():
        what = f"{defended.dtype} {tuple(defended.shape)}" if isinstance(defended, Tensor) else ""
        raise InputError(
            f"{name} returned {what or type(defended).__name__} for images of shape "
            f"{tuple(images.shape)}; expected floats ({count}, 3, height, width)"
        )
    check_range(
        defended,
        f"the output of {name}",
        advice="clamp the defense's output",
        tolerance=_TOLERANCE,
    )


def check_finite(defended: Any, name: str) -> None:
    """Check that a defense's output has no NaN and no infinite value.

    Raises:
        InputError: It has.
    """
    if not isinstance(defended, Tensor) or not has_values(defended):
        return
    low, high = (bound.item() for bound in torch.aminmax(defended.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(
            f"{name} (shape {tuple(defended.shape)}) holds NaN or infinite values; expected finite "
            "ones: check the defense's weights, and the precision"
        )
