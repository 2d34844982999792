"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360) in its Caffe form."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.registry import register_body, register_victim


class Fire(nn.Module):
    """Squeeze to few channels by 1×1, expand by 1×1 and 3×3 side by side, each with ReLU."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×(2·expand)×H×W."""
        x = F.relu(self.squeeze1x1(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))


@register_body("squeezenet1_1", layer="fire5")
@register_victim("squeezenet1_1")
class SqueezeNet(nn.Module):
    """SqueezeNet 1.1; conv1 pads one pixel right and bottom only, no dropout.

    Takes N×3×H×W, blue-green-red minus the Caffe mean; returns logits N×``num_classes``.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        self.fire2 = Fire(64, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.fire4 = Fire(128, 32, 128)
        self.fire5 = Fire(256, 32, 128)
        self.fire6 = Fire(256, 48, 192)
        self.fire7 = Fire(384, 48, 192)
        self.fire8 = Fire(384, 64, 256)
        self.fire9 = Fire(512, 64, 256)
        self.conv10 = nn.Conv2d(512, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits N×C of preprocessed images N×3×H×W."""
        x = F.relu(self.conv1(F.pad(x, (0, 1, 0, 1))))
        x = self.fire3(self.fire2(F.max_pool2d(x, 3, 2)))
        x = self.fire5(self.fire4(F.max_pool2d(x, 3, 2)))
        x = self.fire7(self.fire6(F.max_pool2d(x, 3, 2)))
        x = self.conv10(self.fire9(self.fire8(x)))
        return x.mean(dim=(2, 3))
