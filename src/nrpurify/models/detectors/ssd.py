"""SSDLite on MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), as "coco-ssd" packs it."""

from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.precision import at_least_fp32
from nrpurify.models.detectors.anchors import GRIDS, anchors
from nrpurify.models.detectors.detector import Candidates, Detector
from nrpurify.models.detectors.layers import Bottleneck, Conv
from nrpurify.models.detectors.mobilenet_v2 import inverted_residuals
from nrpurify.models.detectors.registry import built_in, register_detector

_TAPPED = 13
_EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
_FEATURES = (576, 1280, 512, 256, 256, 128)
CLASSES = 91
"""COCO's category ids 1 to 90 and, at 0, the background."""


def _extra(inputs: int, squeezed: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(inputs, squeezed, activation=nn.ReLU6()),
        Conv(squeezed, None, 3, 2, activation=nn.ReLU6()),
        Conv(squeezed, outputs, activation=nn.ReLU6()),
    )


def _predictors(values: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(
            Conv(channels, None, 3, activation=nn.ReLU6()),
            Conv(channels, (3 if level == 0 else 6) * values),
        )
        for level, channels in enumerate(_FEATURES)
    )


class SsdLite(nn.Module):
    """The network: six feature maps of MobileNetV2 and behind it, two predictors on each.

    Takes N×3×300×300 in [-1, 1], red-green-blue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 3, 2, activation=nn.ReLU6())
        self.blocks = nn.ModuleList(inverted_residuals())
        self.last = Conv(320, 1280, activation=nn.ReLU6())
        self.extras = nn.ModuleList(
            _extra(inputs, *widths) for inputs, widths in zip(_FEATURES[1:], _EXTRAS, strict=False)
        )
        self.boxes = _predictors(4)
        self.classes = _predictors(CLASSES)

    def features(self, x: Tensor) -> list[Tensor]:
        """The six feature maps, finest first."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for k, block in enumerate(self.blocks):
            assert isinstance(block, Bottleneck)
            if k == _TAPPED:
                maps.append(block.expand(x))
                x = block.shrink(maps[0], x)
            else:
                x = block(x)
        maps.append(self.last(x))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Box offsets N×1917×4 and class logits N×1917×91 of N×3×300×300."""
        maps = self.features(x)
        return _gather(self.boxes, maps, 4), _gather(self.classes, maps, CLASSES)


def _gather(predictors: nn.ModuleList, maps: list[Tensor], values: int) -> Tensor:
    outputs = (predictor(x) for predictor, x in zip(predictors, maps, strict=True))
    return torch.cat(
        [o.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values)) for o in outputs], 1
    )


class CocoSsd(Detector):
    """coco-ssd: :class:`SsdLite` with its 1917 anchors; one class, the likeliest, for each."""

    def __init__(self, network: SsdLite, **options: Any) -> None:
        super().__init__(network, **options)
        self._anchors = anchors(GRIDS)  # no buffer: .half() would move boxes by pixels

    def candidates(self, raw: tuple[Tensor, Tensor]) -> Candidates:
        """Offsets and logits as :class:`SsdLite` returns them; see :class:`Detector`."""
        offsets, logits = map(at_least_fp32, raw)
        y, x, height, width = self._anchors.to(offsets.device).unbind(-1)
        dy, dx, dh, dw = offsets.unbind(-1)
        center_y, center_x = y + dy / 10 * height, x + dx / 10 * width
        half_h, half_w = height * (dh / 5).exp() / 2, width * (dw / 5).exp() / 2
        sides = (center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h)
        scores, labels = logits[..., 1:].sigmoid().max(-1)
        return torch.stack(sides, -1), scores, labels + 1


@register_detector("coco_ssd")
def coco_ssd(
    *,
    pretrained: bool = True,
    min_score: float = 0.01,
    max_iou: float = 0.5,
    max_detections: int = 100,
) -> Detector:
    """The detector with the settings of :class:`~nrpurify.models.detectors.Detector`."""
    return built_in(
        CocoSsd,
        SsdLite(),
        "coco_ssd",
        pretrained=pretrained,
        min_score=min_score,
        max_iou=max_iou,
        max_detections=max_detections,
    )
