"""Bodies that came without classes, as classifiers with the heads of :mod:`nrpurify.models.heads`.

Their names end in ``_ridge``.
"""

from __future__ import annotations

from torch import nn

from nrpurify.models.detectors.mobilenet_v2 import MobileNetV2
from nrpurify.models.heads import Headed
from nrpurify.models.registry import register_victim
from nrpurify.models.resnet_thin import ResNet50Thin
from nrpurify.models.xception import Xception


@register_victim("mobilenet_v2_ridge")
def mobilenet_v2_ridge() -> nn.Module:
    """MobileNetV2 with a ridge head, with random weights."""
    return Headed(MobileNetV2(symmetric=True), 1280)


@register_victim("resnet50_thin_ridge")
def resnet50_thin_ridge() -> nn.Module:
    """A ResNet-50 of half the width with a ridge head, with random weights."""
    return Headed(ResNet50Thin(), 1024)


@register_victim("xception_ridge")
def xception_ridge() -> nn.Module:
    """Xception with a ridge head, with random weights."""
    return Headed(Xception(), 2048)
