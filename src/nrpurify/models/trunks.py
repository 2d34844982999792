"""Detectors' trunks and their kin as feature networks."""

from __future__ import annotations

from torch import nn

from nrpurify.models.detectors.centernet import CenterNetV3
from nrpurify.models.detectors.mobilenet_v2 import MobileNetV2
from nrpurify.models.registry import register_body


@register_body("centernet", layer="blocks.11")
def centernet() -> nn.Module:
    """CenterNet on MobileNetV3, with random weights."""
    return CenterNetV3()


@register_body("mobilenet_v2_140", layer="blocks.12")
def mobilenet_v2_140() -> nn.Module:
    """MobileNetV2 of 1.4 times the width, with random weights."""
    return MobileNetV2(1.4)


@register_body("mobilenet_v2", layer="blocks.12")
def mobilenet_v2() -> nn.Module:
    """MobileNetV2 with torchvision's padding and random weights."""
    return MobileNetV2(symmetric=True)
