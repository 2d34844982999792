"""Boxes: suppression of doubles, and the way into an image's frame."""

import torch
from torch import Tensor

from nrpurify.core.errors import MissingExtraError

Detections = dict[str, Tensor]
"""One image's answer as torchvision gives it: ``boxes`` K×4 (left, top, right, bottom in pixels),
``scores`` K in [0, 1] descending, ``labels`` K category ids; ``masks`` K×1×H×W in [0, 1] or none.
"""


def suppress(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Indices of boxes K×4 to keep, best first: none overlaps a better one by more than ``iou``.

    Raises:
        MissingExtraError: torchvision, which does it, is not installed.
    """
    try:
        from torchvision.ops import nms
    except ImportError as error:
        raise MissingExtraError("torchvision", "models") from error
    kept: Tensor = nms(boxes.detach(), scores.detach(), iou)
    return kept


def into_frame(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes K×4 in shares of the image to pixels of an image ``height``×``width``, cut there."""
    sides = boxes.new_tensor([width, height, width, height])
    return torch.minimum((boxes * sides).clamp(min=0), sides)
