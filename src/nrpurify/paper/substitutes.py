"""Which network stands in for which of the paper's, by scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Scale = Literal["smoke", "small", "full"]
SCALES: tuple[Scale, ...] = get_args(Scale)

FULL: dict[str, str | None] = {
    "Inc-v3": "timm:inception_v3.tf_in1k",
    "Inc-v4": "timm:inception_v4.tf_in1k",
    "IncRes-v2": "timm:inception_resnet_v2.tf_in1k",
    "Res-152": "torchvision:resnet152.IMAGENET1K_V1",
    "VGG16": "torchvision:vgg16",
    "VGG-19": "torchvision:vgg19",
    "Adv-v3": "timm:inception_v3.tf_adv_in1k",
    "Inc-v3-ens3": None,
    "IncRes-v2-ens": "timm:inception_resnet_v2.tf_ens_adv_in1k",
}
"""The paper's own models where a hub has them. Res-152 is of architecture 1 in place of 2; its
weights are those whose accuracy, 78.31 %, appendix table 1 prints."""

SMALL: dict[str, str | None] = {
    "Inc-v3": "efficientnet_lite1",
    "Inc-v4": "efficientnet_lite2",
    "IncRes-v2": "mobilenet_v1_025",
    "Res-152": "efficientnet_lite0",
    "VGG16": "squeezenet1_1",
    "VGG-19": None,
    "Adv-v3": None,
    "Inc-v3-ens3": None,
    "IncRes-v2-ens": None,
}
"""Classifiers of the package source. None of them is adversarially trained."""

SMOKE: dict[str, str | None] = {name: f"tiny:{name}" for name in FULL}
"""Tiny random networks, see :mod:`nrpurify.paper.smoke`."""

_BY_SCALE: dict[Scale, dict[str, str | None]] = {"smoke": SMOKE, "small": SMALL, "full": FULL}


def substitute(
    name: str, scale: Scale, small: Mapping[str, str | None] | None = None
) -> str | None:
    """The network that plays the paper's ``name``, or None where there is none.

    Args:
        name: As in the paper, such as ``Inc-v3``.
        scale: Smoke, small or full.
        small: An experiment's own cast for the scale small.
    """
    if scale == "small" and small is not None and name in small:
        return small[name]
    return _BY_SCALE[scale][name]
