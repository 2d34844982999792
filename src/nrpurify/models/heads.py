"""Linear heads for bodies that came without classes: ridge regression of a classifier's logits.

No label takes part: photographs go through a teacher, whose logits are regressed on the body's
pooled features. The heads that the package carries were taught by EfficientNet-Lite0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nrpurify.core.errors import InputError

RIDGE = "_ridge"
"""Ends the names of victims with a head of this kind."""
RIDGE_SIDE = 224


class Headed(nn.Module):
    """A body, the mean over positions, and a linear head.

    Args:
        body: Maps preprocessed images N×3×H×W to features N×``channels``×h×w.
        channels: Of the body's features.
        num_classes: Of the logits.
    """

    def __init__(self, body: nn.Module, channels: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits N×``num_classes`` of preprocessed images N×3×H×W."""
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


@torch.no_grad()
def ridge_head(features: Tensor, logits: Tensor, ridge: float = 300.0) -> dict[str, Tensor]:
    """Ridge regression of centered logits on standardized features, in its dual form.

    Minimizes ``|X W + b − Y|² + ridge·|W|²`` over ``W``, where X are the features minus their mean
    over their deviation and Y the logits minus each image's mean.

    Args:
        features: N×C, of N unlabeled images.
        logits: N×K, the teacher's on the same images.
        ridge: λ, above 0.

    Returns:
        ``weight`` K×C and ``bias`` K of a linear layer on the raw features.

    Raises:
        InputError: Different N, fewer than two images, or ``ridge`` not above 0.
    """
    if len(features) != len(logits) or len(features) < 2 or not ridge > 0:
        raise InputError(
            f"{len(features)} rows of features, {len(logits)} of logits and ridge {ridge}; "
            "expected the same number of rows, at least 2, and a ridge above 0"
        )
    x, y = features.double(), logits.double()
    y = y - y.mean(1, keepdim=True)
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-6)
    center = y.mean(0)
    x = (x - mean) / deviation
    kernel = x @ x.T
    kernel.diagonal().add_(ridge)
    weight = torch.linalg.solve(kernel, y - center).T @ x / deviation
    return {"weight": weight.float(), "bias": (center - weight @ mean).float()}


@torch.no_grad()
def teach_head(
    body: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    ridge: float = 300.0,
) -> dict[str, Tensor]:
    """A head for ``body`` from unlabeled photographs.

    Args:
        body: Maps images in [0, 1] to features N×C×h×w, its preprocessing inside.
        teacher: Maps the same images to logits N×K.
        batches: The photographs, N×3×H×W.
        ridge: See :func:`ridge_head`.
    """
    features, logits = [], []
    for images in batches:
        features.append(body(images).float().mean((2, 3)))
        logits.append(teacher(images).float())
    return ridge_head(torch.cat(features), torch.cat(logits), ridge)


def head_file(name: str) -> Path:
    """Where the package keeps the head of the body ``name``."""
    folder = Path(str(resources.files("nrpurify.models"))) / "checkpoints"
    return folder / f"{name}-head.safetensors"


def load_head(name: str) -> dict[str, Tensor]:
    """The package's head of the body ``name``: float32 ``head.weight`` and ``head.bias``."""
    return {f"head.{key}": value.float() for key, value in load_file(head_file(name)).items()}
