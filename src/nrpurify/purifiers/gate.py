"""Whether an image was attacked: what decides how much of the strength it gets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.images import as_floats
from nrpurify.core.tracing import exporting
from nrpurify.purifiers.strength import window_mean
from nrpurify.purifiers.tiling import pad_to_multiple, spans

BLOCK = 2
"""Pixel blocks of this side are the first layer's pixels."""
SIDE = 512
"""Images are seen in pieces of about this side, so that memory is bounded."""
_STEP, _HALO = 8, 16
"""Pixels a side of one feature, and pixels read around a piece: a feature sees 12 beyond its own
at most, so the pieces give what the whole image gives."""
_DETAIL, _CORRECTION = 16.0, 24.0


class Gate(nn.Module):
    """Tells attacked images from clean ones, by their detail and by what a purifier takes away.

    On an image that nobody attacked, more than a purifier's own correction is a loss and gains
    nothing; :meth:`forward` is the share of the strength beyond 1 that an image gets. It is
    trained after the purifier, on the same adversaries and without labels
    (:mod:`nrpurify.training.gate`).

    Args:
        width: Channels of the first layers.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = [6 * BLOCK**2, width, width, 4 * width // 3, 2 * width]
        steps = [1, 1, 2, 2]
        layers: list[nn.Module] = []
        for inputs, outputs, step in zip(widths, widths[1:], steps, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, step, 1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, images: Tensor, purified: Tensor) -> Tensor:
        """N×3×H×W images and what the purifier's network made of them, to N values in [0, 1]."""
        return self.logits(images, purified).sigmoid()

    def logits(self, images: Tensor, purified: Tensor) -> Tensor:
        """N values, above 0 for images that look attacked; ``images`` may be uint8 too."""
        total = purified.new_zeros(images.shape[0], self.last.in_features)
        area = 0
        for rows, keep_rows in _pieces(images.shape[2]):
            for columns, keep_columns in _pieces(images.shape[3]):
                part, result = (given[..., rows, columns] for given in (images, purified))
                found = self._features(_shown(as_floats(part, purified.dtype), result))
                found = found[..., keep_rows, keep_columns]
                total = total + found.sum((2, 3))
                area += found.shape[2] * found.shape[3]
        logits: Tensor = self.last(total / area)
        return logits.flatten()

    def _features(self, shown: Tensor) -> Tensor:
        """The layers on :func:`_shown`; the first one sees pixel blocks as channels.

        A convolution of the blocks is one of the pixels at stride :data:`BLOCK` with the weights in
        another order, so that the blocks need not be made.
        """
        first: nn.Conv2d = self.features[0]  # type: ignore[assignment]
        weight = F.pixel_shuffle(first.weight, BLOCK)
        found = F.conv2d(shown, weight, first.bias, BLOCK, BLOCK)
        result: Tensor = self.features[1:](found)
        return result


def _pieces(length: int) -> Iterator[tuple[slice, slice]]:
    """For each piece of a side: the pixels to read, and the features to keep."""
    if exporting():  # the number of pieces would depend on the size
        yield slice(None), slice(None)
        return
    for read, keep, _ in spans(length, SIDE, _HALO):
        yield read, slice(keep.start // _STEP, -(-keep.stop // _STEP))


def _shown(images: Tensor, purified: Tensor) -> Tensor:
    """What the gate looks at: no image as such, so that it learns nothing of what is in them."""
    detail = images - window_mean(images, 3)
    parts = torch.cat([_DETAIL * detail, _CORRECTION * (purified - images)], 1)
    return pad_to_multiple(parts, BLOCK)
