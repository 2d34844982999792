"""What victims return behind a defense, checked for NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp, autocast
from nrpurify.core.scale import enlarged
from nrpurify.evaluation.tasks import Task

Predictions = Sequence[Any] | Tensor
"""N predictions: a tensor of N rows, or a list."""


@torch.no_grad()
def predictions(
    task: Task,
    defense: nn.Module,
    victims: Mapping[str, nn.Module],
    images: Tensor,
    names: Sequence[str],
    amp: Amp,
    spec: str,
) -> dict[str, Predictions]:
    """Ask victims about N×3×H×W images behind a defense.

    A defense of one pass works once for all victims; one of several passes again for each.

    Args:
        task: Asks.
        defense: Maps images to images.
        victims: By name.
        images: In [0, 1].
        names: Of the N images.
        amp: bf16 autocast of the defense.
        spec: Of the defense, for errors.

    Raises:
        InputError: Defended images or predictions are not finite.
    """
    if getattr(defense, "passes", 1) > 1:
        found = {
            name: task.predict_passes(victim, defense, images) for name, victim in victims.items()
        }
    else:
        with autocast(images.device, amp):
            defended = defense(images)
        check_finite(defended, names, "images", spec)
        with enlarged(images, defended):
            found = {name: task.predict(one, defended.float()) for name, one in victims.items()}
    for name, given in found.items():
        _check(given, names, name, spec)
    return found


def _check(found: Predictions, names: Sequence[str], victim: str, spec: str) -> None:
    if isinstance(found, Tensor):
        check_finite(found, names, f"logits of {victim}", spec)
        return
    for one, name in zip(found, names, strict=True):
        if isinstance(one, Mapping):
            for key, value in one.items():
                if isinstance(value, Tensor) and value.is_floating_point():
                    check_finite(value[None], [name], f"{key} of {victim}", spec)
        elif isinstance(one, Tensor) and one.is_floating_point():
            check_finite(one[None], [name], f"predictions of {victim}", spec)


def check_finite(values: Tensor, names: Sequence[str], what: str, defense: str) -> None:
    """Raise InputError unless N×... ``values`` are finite; it names defense and first image.

    Args:
        values: Images or scores, one row an image.
        names: Of the N images.
        what: What they are, such as ``logits of resnet50``.
        defense: What stands in front.
    """
    if values.isfinite().all():
        return
    broken = (~values.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    more = f" and {len(broken) - 1} more images" if len(broken) > 1 else ""
    raise InputError(
        f"{what} behind the defense {defense!r} hold NaN or infinite values for "
        f"{names[broken[0]]}{more}; expected finite ones: check the weights of both networks, and "
        "the precision"
    )
