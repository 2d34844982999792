"""SegNet-Basic for CamVid's street scenes: the shipped one, and those of files."""

from __future__ import annotations

from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.models.segmenters.checkpoint import load_segnet, shipped_segmenters
from nrpurify.models.segmenters.registry import register_segmenter
from nrpurify.models.segmenters.segmenter import Segmenter
from nrpurify.models.segmenters.segnet import MIN_SIDE, SegNetBasic

CAMVID_CLASSES: tuple[str, ...] = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
"""CamVid's 11 classes in the order of the logits; void is none of them (Brostow et al., 2009)."""

SHIPPED = "segnet-basic-camvid"


@register_segmenter("segnet-basic-camvid", source="Badrinarayanan et al., 2017, trained here")
def shipped(*, pretrained: bool = True) -> Segmenter:
    """The segmenter that the package carries."""
    if not pretrained:
        return _segnet(SegNetBasic(len(CAMVID_CLASSES)), SHIPPED)
    return _segnet(load_segnet(shipped_segmenters()[SHIPPED])[0], SHIPPED)


def segnet_of_file(path: Path) -> Segmenter:
    """The segmenter in a file that ``nrpurify train-segmenter`` wrote, named as on its card.

    Raises:
        InputError: No such file.
        WeightsError: The file is damaged, or is no SegNet-Basic of this package.
    """
    if not path.is_file():
        raise InputError(
            f"there is no file {str(path)!r}; expected one that `nrpurify train-segmenter` wrote"
        )
    network, card = load_segnet(path)
    return _segnet(network, card.name)


def _segnet(network: SegNetBasic, name: str) -> Segmenter:
    count = network.classifier.out_channels
    numbered = tuple(f"class {k}" for k in range(count))
    classes = CAMVID_CLASSES if count == len(CAMVID_CLASSES) else numbered
    return Segmenter(network, name=name, classes=classes, min_side=MIN_SIDE)
