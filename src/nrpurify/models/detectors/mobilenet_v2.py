"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381): a detector's trunk, a feature network."""

from collections.abc import Iterable

from torch import Tensor, nn

from nrpurify.models.detectors.layers import Bottleneck, Conv

# expansion, outputs, stride
_LAYOUT = (
    *((1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1)),
    *((6, 64, 2), (6, 64, 1), (6, 64, 1), (6, 64, 1), (6, 96, 1), (6, 96, 1), (6, 96, 1)),
    *((6, 160, 2), (6, 160, 1), (6, 160, 1), (6, 320, 1)),
)
_STEM, _LAST = 32, 1280
_DIVISOR = 8


def _scaled(channels: int, width: float) -> int:
    """``width`` times ``channels``, to a multiple of 8, as TensorFlow rounds it."""
    return int(width * channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR


def inverted_residuals(width: float = 1.0, *, symmetric: bool = False) -> Iterable[Bottleneck]:
    """The 17 blocks, for N×C×H×W with C = 32 · ``width``."""
    inputs = _scaled(_STEM, width)
    for expansion, channels, stride in _LAYOUT:
        outputs = _scaled(channels, width)
        hidden = inputs * expansion
        yield Bottleneck(
            inputs, hidden, outputs, stride=stride, activation=nn.ReLU6(), symmetric=symmetric
        )
        inputs = outputs


class MobileNetV2(nn.Module):
    """The convolutions: layers ``stem``, ``blocks.0`` to ``blocks.16`` and ``last``.

    Takes N×3×H×W in [-1, 1], red-green-blue; torchvision's, whose padding is ``symmetric``, takes
    ImageNet's normalization instead. ``width`` of at least 1 multiplies all channels.
    """

    def __init__(self, width: float = 1.0, *, symmetric: bool = False) -> None:
        super().__init__()
        self.stem = Conv(3, _scaled(_STEM, width), 3, 2, activation=nn.ReLU6(), symmetric=symmetric)
        self.blocks = nn.Sequential(*inverted_residuals(width, symmetric=symmetric))
        inputs, outputs = _scaled(_LAYOUT[-1][1], width), _scaled(_LAST, width)
        self.last = Conv(inputs, outputs, activation=nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        """Features N×(1280 · width)×H/32×W/32."""
        out: Tensor = self.last(self.blocks(self.stem(x)))
        return out
