"""Detectors by name."""

from collections.abc import Callable
from typing import Any

import torch

from nrpurify import weights
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.core.spec import is_factory_spec
from nrpurify.models.detectors.centernet import CenterNet, CenterNetV3
from nrpurify.models.detectors.detector import Detector
from nrpurify.models.detectors.ssd import CocoSsd, SsdLite
from nrpurify.models.detectors.zoo import AnyDetector, as_detector, torchvision_detector
from nrpurify.models.factories import call_factory

DETECTORS: dict[str, Callable[..., Detector]] = {
    "coco_ssd": lambda **options: CocoSsd(SsdLite(), **options),
    "centernet": lambda **options: CenterNet(CenterNetV3(), **options),
}


def detector_names() -> list[str]:
    """Return the names of the detectors whose weights need no model hub."""
    return list(DETECTORS)


def _own(name: str, pretrained: bool, options: dict[str, Any]) -> Detector:
    expected = weights.get(name).preprocessing
    detector = DETECTORS[name](name=name, preprocessing=expected, **options)
    if pretrained:
        detector.network.load_state_dict(weights.load(name))
    return detector


def _from_factory(spec: str) -> Detector | AnyDetector:
    made, source = call_factory(spec)
    if not callable(made):
        raise InputError(
            f"{spec} returned a {type(made).__name__}; expected a detector: a model from a list of "
            "images to a list of dicts with boxes, scores and labels"
        )
    detector = made if isinstance(made, Detector | AnyDetector) else as_detector(made, name=spec)
    detector.name, detector.source_sha256 = spec, source.sha256
    return detector


def load_detector(
    name: str,
    *,
    pretrained: bool = True,
    device: torch.device | str | None = None,
    **options: float,
) -> Detector | AnyDetector:
    """Return a detector by name, in eval mode, without weight gradients.

    Args:
        name: One of :func:`detector_names` or ``torchvision:NAME``, for instance
            ``torchvision:maskrcnn_resnet50_fpn``, or ``python:package.module:function`` and
            ``path/to/file.py:function`` with the function's settings: it returns a detector, or a
            model that :func:`nrpurify.models.detectors.as_detector` takes.
        pretrained: False gives random weights and touches neither cache nor network.
        device: Where to put it; None leaves it on the CPU.
        options: ``min_score``, ``max_iou``, ``max_detections`` of
            :class:`nrpurify.models.detectors.Detector`; torchvision's have their own.

    Raises:
        InputError: there is no such name; near matches are named.
        MissingExtraError: the library that has it is not installed.
        WeightsError: the weights could not be fetched.
    """
    library, _, rest = name.partition(":")
    detector: Detector | AnyDetector
    if library == "torchvision" and rest:
        if options:
            raise InputError(f"{name} takes no options; {', '.join(options)} given")
        detector = torchvision_detector(rest, pretrained=pretrained)
    elif is_factory_spec(name):
        detector = _from_factory(name)
    elif name in DETECTORS:
        detector = _own(name, pretrained, options)
    else:
        raise InputError(
            f"there is no detector {name!r}; {near_matches(name, DETECTORS)} Also: torchvision:NAME"
        )
    return detector.to(device).eval().requires_grad_(False)
