"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861) as Keras builds it."""

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.padding import pad_same
from nrpurify.models.registry import register_victim

_LAYOUT = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


class ConvBN(nn.Module):
    """Convolution without bias, batch norm (epsilon 1e-3), ReLU6; "same" padding of TensorFlow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def _pad(self, x: Tensor) -> Tensor:
        return pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×⌈H/stride⌉×⌈W/stride⌉."""
        return F.relu6(self.bn(self.conv(self._pad(x))))


class Separable(nn.Module):
    """A 3×3 convolution per channel, then a 1×1 convolution over the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvBN(inputs, outputs, 1, 1, groups=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×⌈H/stride⌉×⌈W/stride⌉."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


@register_victim("mobilenet_v1_025")
class MobileNetV1(nn.Module):
    """MobileNetV1 of a given ``width``; 0.25 has 0.47 million parameters.

    Takes N×3×H×W in [-1, 1], red-green-blue; returns logits N×``num_classes``.
    """

    def __init__(self, width: float = 0.25, num_classes: int = 1000) -> None:
        super().__init__()
        channels = [int(32 * width), *(int(outputs * width) for outputs, _ in _LAYOUT)]
        self.stem = ConvBN(3, channels[0], 3, 2, groups=1)
        self.blocks = nn.Sequential(
            *(Separable(channels[k], channels[k + 1], s) for k, (_, s) in enumerate(_LAYOUT))
        )
        self.head = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits N×C of preprocessed images N×3×H×W."""
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
        return logits
