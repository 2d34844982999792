"""Detectors by spec: a registered name, torchvision's, or the user's own."""

from typing import Any

import torch
from torch import nn

from nrpurify import weights
from nrpurify.core.errors import InputError
from nrpurify.core.registry import Registry
from nrpurify.models.detectors.detector import Detector
from nrpurify.models.detectors.zoo import AnyDetector, as_detector, torchvision_detector
from nrpurify.models.factories import make_model, ready

DETECTORS: Registry[Any] = Registry(
    "detector", package="nrpurify.models.detectors", group="nrpurify.detectors"
)
register_detector = DETECTORS.register
"""Decorate what makes a detector, under a name for specs; its parameters are the settings.

It returns a :class:`~nrpurify.models.detectors.Detector`, or a model that
:func:`~nrpurify.models.detectors.as_detector` takes.
"""


def detector_names() -> list[str]:
    """Return the names of the registered detectors; the built-in ones need no model hub."""
    return DETECTORS.names()


def built_in(
    kind: type[Detector], network: nn.Module, name: str, *, pretrained: bool, **options: Any
) -> Detector:
    """A detector of this package with the weights and the preprocessing of its name."""
    detector = kind(network, name=name, preprocessing=weights.get(name).preprocessing, **options)
    if pretrained:
        detector.network.load_state_dict(weights.load(name))
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
        name: A spec: one of :func:`detector_names` or ``torchvision:NAME``, for instance
            ``torchvision:maskrcnn_resnet50_fpn``, or ``python:package.module:function`` and
            ``path/to/file.py:function``, with settings behind a colon. A function returns a
            detector, or a model that :func:`nrpurify.models.detectors.as_detector` takes.
        pretrained: False gives random weights and touches neither cache nor network.
        device: Where to put it; None leaves it on the CPU.
        options: Settings over those of the spec: ``min_score``, ``max_iou`` and
            ``max_detections`` of the built-in ones, see
            :class:`nrpurify.models.detectors.Detector`.

    Raises:
        InputError: there is no such name or setting; near matches are named.
        MissingExtraError: the library that has it is not installed.
        WeightsError: the weights could not be fetched.
    """
    made, source = make_model(
        name,
        DETECTORS,
        {"torchvision": torchvision_detector},
        "detector",
        pretrained=pretrained,
        options=options,
    )
    if not callable(made) or isinstance(made, type):
        raise InputError(
            f"{name} returned a {type(made).__name__}; expected a detector: a model from a list of "
            "images to a list of dicts with boxes, scores and labels"
        )
    detector = made if isinstance(made, Detector | AnyDetector) else as_detector(made, name=name)
    detector.name, detector.source_sha256 = name, source.sha256
    return ready(detector, device, foreign=source.is_foreign)
