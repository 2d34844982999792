"""Any segmenter of torchvision by name, with the preprocessing it was trained with."""

from typing import Any

from torch import nn

from nrpurify.errors import InputError, MissingExtraError, WeightsError
from nrpurify.models.segmenters.segmenter import Segmenter, short_side
from nrpurify.models.zoo import near_matches


def torchvision_segmenter(name: str, *, pretrained: bool) -> Segmenter:
    """Build torchvision's segmenter ``name``; mean, std and size come from its default weights.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: torchvision has no such segmenter; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError("torchvision", "models") from error
    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise InputError(f"torchvision has no segmenter {name!r}; {near_matches(name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {"weights": weights} if pretrained else {"weights_backbone": None}
    try:
        network: nn.Module = models.get_model(name, **options)
    except Exception as error:
        if not pretrained:
            raise
        raise WeightsError(
            f"the pretrained weights of torchvision:{name} could not be fetched: "
            f"{type(error).__name__}: {error}; check the connection, or use one of the segmenters "
            "that need no hub: segnet-basic-camvid, u2netp"
        ) from error
    used = weights.transforms()
    return Segmenter(
        network,
        name=f"torchvision:{name}",
        classes=tuple(weights.meta["categories"]),
        mean=tuple(used.mean),
        std=tuple(used.std),
        sizing=short_side(used.resize_size[0]),
    )
