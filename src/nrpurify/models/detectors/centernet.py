"""CenterNet (Zhou et al. 2019, arXiv 1904.07850) on MobileNetV3 (arXiv 1905.02244)."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.precision import at_least_fp32
from nrpurify.models.detectors.categories import COCO_IDS
from nrpurify.models.detectors.detector import Candidates, Detector
from nrpurify.models.detectors.layers import (
    Bottleneck,
    Conv,
    Gate,
    HardSwish,
    Separable,
    resize_bilinear,
)
from nrpurify.models.detectors.registry import built_in, register_detector

# hidden channels, outputs, kernel, stride, width of the gate
_LAYOUT = (
    *((16, 16, 3, 1, 0), (64, 24, 3, 2, 0), (72, 24, 3, 1, 0)),
    *((72, 32, 5, 2, 24), (96, 32, 5, 1, 24), (96, 32, 5, 1, 24)),
    *((192, 64, 3, 2, 0), (160, 64, 3, 1, 0), (144, 64, 3, 1, 0), (144, 64, 3, 1, 0)),
    *((384, 88, 3, 1, 96), (528, 88, 3, 1, 136)),
    *((528, 120, 5, 2, 136), (720, 120, 5, 1, 184), (720, 120, 5, 1, 184)),
)
_FIRST_SWISH = 6
_TAPS = {3: "c2", 5: "c3"}
_LAST_OF_C4 = 11
_LATERALS = {"c2": (72, 18, 64), "c3": (96, 24, 96), "c4": (88, 22, 128)}
_UPS = {"c5": (480, 128), "c4": (256, 96), "c3": (192, 64)}
_REACH = 16.0
_PEAKS = 100


def _blocks() -> Iterable[Bottleneck]:
    inputs = 16
    for k, (hidden, outputs, kernel, stride, squeezed) in enumerate(_LAYOUT):
        yield Bottleneck(
            inputs,
            hidden,
            outputs,
            kernel=kernel,
            stride=stride,
            squeezed=squeezed,
            activation=nn.ReLU() if k < _FIRST_SWISH else HardSwish(),
        )
        inputs = outputs


class Up(nn.Module):
    """Sum of a 3×3 and a 5×5 separable convolution, at twice the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = Separable(inputs, outputs, 3)
        self.wide = Separable(inputs, outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×2H×2W."""
        height, width = x.shape[2:]
        return resize_bilinear(self.narrow(x) + self.wide(x), 2 * height, 2 * width)


class CenterNetV3(nn.Module):
    """The network: MobileNetV3, three steps up with lateral inputs, two heads at a quarter size.

    Takes N×3×512×512 in [0, 255], red-green-blue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 16, 3, 2, activation=HardSwish())
        self.blocks = nn.ModuleList(_blocks())
        self.last = Conv(120, 480, activation=HardSwish())
        self.laterals = nn.ModuleDict(
            {
                name: nn.Sequential(
                    Conv(inputs, squeezed, activation=nn.ReLU()), Separable(squeezed, outputs, 5)
                )
                for name, (inputs, squeezed, outputs) in _LATERALS.items()
            }
        )
        self.ups = nn.ModuleDict({name: Up(*widths) for name, widths in _UPS.items()})
        self.gate = Gate(128, 32, nn.Sigmoid(), bias=False)
        self.heat = Separable(128, 80, 3)
        self.reach = Separable(128, 4, 3)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """c2, c3, c4 and c5: features at 1/4, 1/8, 1/16 and 1/32 of the size."""
        x = self.stem(x)
        maps: dict[str, Tensor] = {}
        for k, block in enumerate(self.blocks):
            assert isinstance(block, Bottleneck)
            if k in _TAPS:
                expanded = maps[_TAPS[k]] = block.expand(x)
                x = block.shrink(expanded, x)
            else:
                x = block(x)
            if k == _LAST_OF_C4:
                maps["c4"] = x
        return maps | {"c5": self.last(x)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of 80 heat maps N×80×H/4×W/4 and reaches N×4×H/4×W/4 of N×3×H×W.

        The reaches are the distances from a peak to the left, top, right and bottom sides of its
        box, in pixels of the input.
        """
        maps = self.features(x)
        x = maps["c5"]
        for upper, lateral in (("c5", "c4"), ("c4", "c3"), ("c3", "c2")):
            beside = self.laterals[lateral](maps[lateral])
            x = F.relu(torch.cat((beside, self.ups[upper](x)), 1))
        x = self.gate(x)
        return self.heat(x), self.reach(x) * _REACH


class CenterNet(Detector):
    """:class:`CenterNetV3` with its decoding: the 100 strongest peaks of the heat maps."""

    ids: Tensor

    def __init__(self, network: CenterNetV3, **options: Any) -> None:
        super().__init__(network, **options)
        self.register_buffer("ids", torch.tensor(COCO_IDS), persistent=False)

    def candidates(self, raw: tuple[Tensor, Tensor]) -> Candidates:
        """Logits and reaches as :class:`CenterNetV3` returns them; see :class:`Detector`."""
        heat, reach = at_least_fp32(raw[0]).sigmoid(), at_least_fp32(raw[1])
        height, width = heat.shape[2:]
        peaks = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
        scores, index = peaks.permute(0, 2, 3, 1).flatten(1).topk(_PEAKS)
        place, category = index // len(self.ids), index % len(self.ids)
        left, top, right, bottom = (side.gather(1, place) for side in reach.flatten(2).unbind(1))
        x, y = (place % width) * 4, (place // width) * 4
        boxes = torch.stack((x - left, y - top, x + right, y + bottom), -1)
        shares = boxes / boxes.new_tensor([width, height, width, height]) / 4
        return shares, scores, self.ids[category]


@register_detector("centernet")
def centernet(
    *,
    pretrained: bool = True,
    min_score: float = 0.01,
    max_iou: float = 0.5,
    max_detections: int = 100,
) -> Detector:
    """The detector with the settings of :class:`~nrpurify.models.detectors.Detector`."""
    return built_in(
        CenterNet,
        CenterNetV3(),
        "centernet",
        pretrained=pretrained,
        min_score=min_score,
        max_iou=max_iou,
        max_detections=max_detections,
    )
