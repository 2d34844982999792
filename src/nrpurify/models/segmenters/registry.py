"""Segmenters by name, and the user's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nrpurify import weights
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.core.spec import is_factory_spec
from nrpurify.models.factories import call_factory
from nrpurify.models.segmenters.checkpoint import load_segnet, shipped_segmenters
from nrpurify.models.segmenters.segmenter import Segmenter, any_size, square
from nrpurify.models.segmenters.segnet import MIN_SIDE, SegNetBasic
from nrpurify.models.segmenters.u2net import U2NetP
from nrpurify.models.segmenters.zoo import torchvision_segmenter

CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
"""CamVid's 11 classes in the order of the logits; void is none of them (Brostow et al., 2009)."""

SHIPPED = "segnet-basic-camvid"
SALIENCY = "u2netp"


def segmenter_names() -> list[str]:
    """Return the names of the segmenters that need no model hub."""
    return [SHIPPED, SALIENCY]


def load_segmenter(
    name: str | Path, *, pretrained: bool = True, device: torch.device | str | None = None
) -> Segmenter:
    """Return a segmenter, in eval mode, without weight gradients.

    Args:
        name: ``segnet-basic-camvid`` (shipped with the package), ``u2netp`` (salient objects, not
            classes: two logits, background and object), ``torchvision:NAME`` such as
            ``torchvision:deeplabv3_resnet50``, a file that ``nrpurify train-segmenter`` wrote, or
            ``python:package.module:function`` and ``path/to/file.py:function`` with the function's
            settings: it returns a :class:`Segmenter`, or a network and the names of its classes.
        pretrained: False gives random weights and touches neither files nor network.
        device: Where to put it; None leaves it on the CPU.

    Raises:
        InputError: there is no such name; near matches are named.
        MissingExtraError: the library that has it, or that reads its weights, is not installed.
        WeightsError: the weights could not be fetched, or a file is damaged.
    """
    return _named(str(name), pretrained).to(device).eval().requires_grad_(False)


def _named(name: str, pretrained: bool) -> Segmenter:
    library, _, rest = name.partition(":")
    if library == "torchvision" and rest:
        return torchvision_segmenter(rest, pretrained=pretrained)
    if is_factory_spec(name):
        return _from_factory(name)
    if name == SALIENCY:
        return _u2netp(pretrained)
    if name == SHIPPED and not pretrained:
        return _segnet(SegNetBasic(len(CAMVID_CLASSES)), name)
    path = shipped_segmenters().get(name, Path(name))
    if not path.is_file():
        raise InputError(
            f"there is no segmenter {name!r}; {near_matches(name, segmenter_names())} "
            "Also: torchvision:NAME, or a file of nrpurify train-segmenter"
        )
    network, card = load_segnet(path)
    return _segnet(network, name if name == SHIPPED else card.name)


def _from_factory(spec: str) -> Segmenter:
    made, source = call_factory(spec)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        made = as_segmenter(made[0], tuple(made[1]))
    if not isinstance(made, Segmenter):
        raise InputError(
            f"{spec} returned a {type(made).__name__}; expected a Segmenter, or a network and the "
            "names of its classes"
        )
    made.name, made.source_sha256 = spec, source.sha256
    return made


def _segnet(network: SegNetBasic, name: str) -> Segmenter:
    count = network.classifier.out_channels
    numbered = tuple(f"class {k}" for k in range(count))
    classes = CAMVID_CLASSES if count == len(CAMVID_CLASSES) else numbered
    return Segmenter(network, name=name, classes=classes, min_side=MIN_SIDE)


def _u2netp(pretrained: bool) -> Segmenter:
    expected = weights.get(SALIENCY).preprocessing
    network = U2NetP()
    if pretrained:
        network.load_state_dict(weights.load(SALIENCY))
    return Segmenter(
        network,
        name=SALIENCY,
        classes=("background", "salient object"),
        mean=expected.mean,
        std=expected.std,
        sizing=square(expected.size) if expected.size else any_size,
        to_maximum=True,
    )


def as_segmenter(network: nn.Module, classes: tuple[str, ...], *, name: str = "") -> Segmenter:
    """Wrap a user's own network, frozen: N×3×H×W in [0, 1] to N×classes×h×w, or ``{"out": ...}``.

    For other preprocessing build a :class:`Segmenter`.
    """
    made = Segmenter(network, name=name or type(network).__name__, classes=classes)
    return made.eval().requires_grad_(False)
