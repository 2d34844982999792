"""EfficientNet-Lite 0 to 3 (Google, 2020), whose networks are timm's."""

from __future__ import annotations

from torch import nn

from nrpurify.core.errors import MissingExtraError
from nrpurify.models.registry import register_victim


@register_victim("efficientnet_lite0")
def efficientnet_lite0() -> nn.Module:
    """The network for images of 224 pixels, with random weights."""
    return _from_timm("tf_efficientnet_lite0")


@register_victim("efficientnet_lite1")
def efficientnet_lite1() -> nn.Module:
    """The network for images of 240 pixels, with random weights."""
    return _from_timm("tf_efficientnet_lite1")


@register_victim("efficientnet_lite2")
def efficientnet_lite2() -> nn.Module:
    """The network for images of 260 pixels, with random weights."""
    return _from_timm("tf_efficientnet_lite2")


@register_victim("efficientnet_lite3")
def efficientnet_lite3() -> nn.Module:
    """The network for images of 280 pixels, with random weights."""
    return _from_timm("tf_efficientnet_lite3")


def _from_timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "models") from error
    network: nn.Module = timm.create_model(name, pretrained=False)
    return network
