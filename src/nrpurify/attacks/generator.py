"""The network of CDA: from images to unbounded adversarial ones (Naseer et al., 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError

BLOCKS = {"large": 6, "small": 2}
"""Residual blocks by size: 7.84 and 3.12 million parameters."""


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    padding: list[nn.Module] = [nn.ReflectionPad2d(size // 2)] if stride == 1 else []
    inside = 0 if stride == 1 else size // 2
    conv = nn.Conv2d(inputs, outputs, size, stride, inside, bias=False)
    return [*padding, conv, nn.BatchNorm2d(outputs)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Residual(nn.Module):
    """x + conv(relu(conv(x))), each convolution 3×3 with batch normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = _conv(width, width, 3), _conv(width, width, 3)
        self.body = nn.Sequential(*first, nn.ReLU(inplace=True), *second)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×width×H×W to the same shape; sides of at least 2."""
        added: Tensor = x + self.body(x)
        return added


class GeneratorNet(nn.Module):
    """Down by four, residual blocks, up again; the output is (tanh + 1) / 2.

    Args:
        blocks: Residual blocks, see :data:`BLOCKS`.
        width: Channels at full size.

    Raises:
        InputError: A number below 1.
    """

    def __init__(self, blocks: int = 6, width: int = 64) -> None:
        super().__init__()
        if min(blocks, width) < 1:
            raise InputError(f"blocks is {blocks} and width {width}; expected at least 1")
        relu = nn.ReLU(inplace=True)
        self.encode = nn.Sequential(
            *(*_conv(3, width, 7), relu),
            *(*_conv(width, 2 * width, 3, 2), relu),
            *(*_conv(2 * width, 4 * width, 3, 2), relu),
        )
        self.blocks = nn.Sequential(*(Residual(4 * width) for _ in range(blocks)))
        self.decode = nn.Sequential(
            *_up(4 * width, 2 * width),
            *_up(2 * width, width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
        )

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same; sides are padded to multiples of 4 from 8 on."""
        height, width = images.shape[-2:]
        bottom, right = max(8 - height, -height % 4), max(8 - width, -width % 4)
        padded = F.pad(images, (0, right, 0, bottom), mode="replicate")
        out: Tensor = self.decode(self.blocks(self.encode(padded)))
        return (out[..., :height, :width].tanh() + 1) / 2
