"""Pixel accuracy and mean intersection over union, void ignored, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.data.masks import IGNORED
from nrpurify.evaluation.metrics import register_metric
from nrpurify.results import Estimate

Value = Callable[[Tensor], Tensor]
"""From confusion counts ...×C×C to ... values in [0, 1]."""


def confusion(predicted: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count pixels by true class (row) and predicted class (column), image by image.

    Args:
        predicted: Classes from 0, int64 N×H×W.
        mask: True classes, int64 N×H×W; :data:`~nrpurify.data.masks.IGNORED` is left out.
        classes: Number of classes C.

    Returns:
        int64 N×C×C on the CPU.

    Raises:
        InputError: The shapes differ, or a class is outside 0 to C - 1.
    """
    if predicted.shape != mask.shape:
        raise InputError(
            f"the prediction has shape {tuple(predicted.shape)}; its mask {tuple(mask.shape)}"
        )
    counts = []
    for guess, truth in zip(predicted, mask, strict=True):
        counted = truth != IGNORED
        pairs = torch.stack([truth[counted], guess[counted]])
        if pairs.numel() and not (int(pairs.min()) >= 0 and int(pairs.max()) < classes):
            raise InputError(
                f"classes from {int(pairs.min())} to {int(pairs.max())} given; expected 0 to "
                f"{classes - 1}"
            )
        cells = torch.bincount(pairs[0] * classes + pairs[1], minlength=classes**2)
        counts.append(cells.view(classes, classes).cpu())
    return torch.stack(counts)


def pixel_accuracy(counts: Tensor) -> Tensor:
    """Share of right pixels of confusion counts ...×C×C; 0 where no pixel counts."""
    right = counts.diagonal(dim1=-2, dim2=-1).sum(-1)
    return right / counts.sum((-2, -1)).clamp(min=1)


def mean_iou(counts: Tensor) -> Tensor:
    """Mean over the classes of intersection over union, of confusion counts ...×C×C.

    Classes that are neither in a mask nor predicted have no union and are in no mean.
    """
    both = counts.diagonal(dim1=-2, dim2=-1)
    union = counts.sum(-1) + counts.sum(-2) - both
    present = union > 0
    shares = both / union.clamp(min=1)
    return shares.sum(-1) / present.sum(-1).clamp(min=1)


def bootstrap_interval(
    counts: Tensor, metric: Value, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a metric over images (Efron, 1979).

    Images are drawn with replacement and their counts added before the metric is taken.

    Args:
        counts: Confusion counts N×C×C, one matrix an image.
        metric: From confusion counts to values.
        resamples: Number of draws.
        seed: Makes them reproducible.
    """
    images = len(counts)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(images, (resamples, images), generator=generator)
    times = torch.zeros(resamples, images, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    summed = (times @ counts.double().flatten(1)).view(resamples, *counts.shape[1:])
    low, high = metric(summed).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


class _FromConfusion:
    """A value of the confusion counts of all pixels of all images."""

    name = ""

    def __init__(self, resamples: int = 1000) -> None:
        if resamples < 1:
            raise InputError(f"resamples is {resamples}; expected at least 1")
        self.resamples = resamples
        self._counts: list[Tensor] = []

    def update(self, predictions: Any, targets: Sequence[Tensor]) -> None:
        """Count N×classes×H×W logits and N masks H×W."""
        for logits, mask in zip(predictions, targets, strict=True):
            guess = logits.argmax(0).cpu()
            self._counts.append(confusion(guess[None], mask[None], len(logits)))

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """The value with its bootstrap interval over images."""
        counts = torch.cat(self._counts)
        low, high = bootstrap_interval(counts, self.value, resamples=self.resamples, seed=seed)
        value = float(self.value(counts.sum(0)))
        return {self.name: Estimate(value, low, high, len(counts))}

    @staticmethod
    def value(counts: Tensor) -> Tensor:
        """From confusion counts ...×C×C to ... values."""
        raise NotImplementedError


@register_metric("pixel-accuracy", source="share of right pixels", values=("pixel accuracy",))
class PixelAccuracy(_FromConfusion):
    """Share of right pixels, void ignored."""

    name = "pixel accuracy"
    value = staticmethod(pixel_accuracy)


@register_metric("mIoU", source="mean over classes of intersection over union")
class MeanIoU(_FromConfusion):
    """Mean over the classes of intersection over union, void ignored."""

    name = "mIoU"
    value = staticmethod(mean_iou)
