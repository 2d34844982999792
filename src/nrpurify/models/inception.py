"""Inception-v3 (Szegedy et al. 2016, arXiv 1512.00567) as Keras builds it, to its middle."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.registry import register_body


class Layer(NamedTuple):
    """One convolution: channels, kernel, stride, and whether it keeps the sides."""

    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


def _branch(*layers: tuple[int, tuple[int, int]]) -> tuple[Layer, ...]:
    return tuple(Layer(*layer) for layer in layers)


def _small(pooled: int) -> list[tuple[Layer, ...]]:
    return [
        _branch((64, (1, 1))),
        _branch((48, (1, 1)), (64, (5, 5))),
        _branch((64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
        _branch((pooled, (1, 1))),
    ]


def _wide(between: int) -> list[tuple[Layer, ...]]:
    row, column = (1, 7), (7, 1)
    return [
        _branch((192, (1, 1))),
        _branch((between, (1, 1)), (between, row), (192, column)),
        _branch(
            (between, (1, 1)), (between, column), (between, row), (between, column), (192, row)
        ),
        _branch((192, (1, 1))),
    ]


_STEM = (
    Layer(32, (3, 3), 2, same=False),
    Layer(32, (3, 3), same=False),
    Layer(64, (3, 3)),
    Layer(80, same=False),
    Layer(192, (3, 3), same=False),
)
_REDUCE = [
    (Layer(384, (3, 3), 2, same=False),),
    (Layer(64), Layer(96, (3, 3)), Layer(96, (3, 3), 2, same=False)),
]
_BLOCKS = (
    *(_small(pooled) for pooled in (32, 64, 64)),
    _REDUCE,
    *(_wide(between) for between in (128, 160, 160, 192)),
)


class ConvReLU(nn.Sequential):
    """A convolution, then ReLU."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        height, width = layer.kernel
        padding = (height // 2, width // 2) if layer.same else 0
        conv = nn.Conv2d(inputs, layer.outputs, layer.kernel, layer.stride, padding)
        super().__init__(conv, nn.ReLU())


class Mixed(nn.Module):
    """Branches side by side; the last one, or one more without weights, pools first.

    Args:
        inputs: Channels.
        branches: Three and a pooled one; or two, which halve the sides, as does the pooling.
    """

    def __init__(self, inputs: int, branches: Sequence[tuple[Layer, ...]]) -> None:
        super().__init__()
        self.reduces = branches is _REDUCE
        made = []
        for layers in branches:
            widths = (inputs, *(layer.outputs for layer in layers))
            convs = (ConvReLU(w, layer) for w, layer in zip(widths, layers, strict=False))
            made.append(nn.Sequential(*convs))
        self.branches = nn.ModuleList(made)
        self.outputs = sum(layers[-1].outputs for layers in branches)
        self.outputs += inputs if self.reduces else 0

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×``outputs``×H×W, or to half the sides."""
        if self.reduces:
            return torch.cat([*(branch(x) for branch in self.branches), F.max_pool2d(x, 3, 2)], 1)
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        inputs = (x, x, x, pooled)
        return torch.cat([b(i) for b, i in zip(self.branches, inputs, strict=True)], 1)


@register_body("inception_v3", layer="blocks.7")
class InceptionV3(nn.Module):
    """The convolutions to Mixed_6e: layers ``stem.0`` to ``stem.4``, ``blocks.0`` to ``blocks.7``.

    Takes N×3×H×W in the range of its training, red-green-blue; sides of at least 75 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *(layer.outputs for layer in _STEM))
        self.stem = nn.ModuleList(
            ConvReLU(w, layer) for w, layer in zip(widths, _STEM, strict=False)
        )
        blocks, inputs = [], widths[-1]
        for branches in _BLOCKS:
            blocks.append(Mixed(inputs, branches))
            inputs = blocks[-1].outputs
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Features N×768×H/16×W/16, about."""
        for index, conv in enumerate(self.stem):
            x = conv(x)
            if index in (2, 4):
                x = F.max_pool2d(x, 3, 2)
        out: Tensor = self.blocks(x)
        return out
