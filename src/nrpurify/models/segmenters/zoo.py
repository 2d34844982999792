"""Any segmenter of torchvision by name, with the preprocessing it was trained with."""

from nrpurify.models.segmenters.segmenter import Segmenter, short_side
from nrpurify.models.zoo import torchvision_network


def torchvision_segmenter(name: str, *, pretrained: bool = True) -> Segmenter:
    """Build torchvision's segmenter ``name``; mean, std and size come from its default weights.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: torchvision has no such segmenter; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    network, weights = torchvision_network(
        name,
        "segmenter",
        "one of the segmenters that need no hub: segnet-basic-camvid, u2netp",
        pretrained=pretrained,
        family="segmentation",
        weights_backbone=None,
    )
    used = weights.transforms()
    return Segmenter(
        network,
        name=f"torchvision:{name}",
        classes=tuple(weights.meta["categories"]),
        mean=tuple(used.mean),
        std=tuple(used.std),
        sizing=short_side(used.resize_size[0]),
    )
