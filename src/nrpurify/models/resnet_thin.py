"""ResNet-50 of half the width (He et al. 2016, arXiv 1512.03385), batch norms folded."""

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.registry import register_body

# blocks, channels between, stride
_STAGES = ((3, 32, 1), (4, 64, 2), (6, 128, 2), (3, 256, 2))
_EXPANSION = 4


class Bottleneck(nn.Module):
    """Three convolutions with a shortcut; the first one strides."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, stride)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, outputs, 1)
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×(4·width)×⌈H/stride⌉×⌈W/stride⌉."""
        out = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(out) + self.shortcut(x))


@register_body("resnet50_thin", layer="blocks.12")
class ResNet50Thin(nn.Module):
    """The convolutions: layers ``stem`` and ``blocks.0`` to ``blocks.15``.

    Takes N×3×H×W, blue-green-red minus the Caffe mean.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, padding=3)
        blocks, inputs = [], 64
        for count, width, stride in _STAGES:
            for index in range(count):
                blocks.append(Bottleneck(inputs, width, stride if index == 0 else 1))
                inputs = _EXPANSION * width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Features N×1024×⌈H/32⌉×⌈W/32⌉."""
        x = F.relu(self.stem(x))
        out: Tensor = self.blocks(F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2))
        return out
