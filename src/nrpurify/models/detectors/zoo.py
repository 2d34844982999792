"""Detectors of torchvision by name, and any other through one function."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.precision import weights_dtype
from nrpurify.models.detectors.boxes import Detections
from nrpurify.models.detectors.detector import Images, check_detector_images
from nrpurify.models.zoo import torchvision_network

_KEYS = ("boxes", "scores", "labels")


class AnyDetector(nn.Module):
    """Somebody else's detector behind the one shape of all detectors here.

    Args:
        model: Takes a list of 3×H×W images in [0, 1] and returns one dict an image, as
            torchvision's detectors do. A module gets images in the precision of its weights.
        name: What reports call it.
    """

    name: str
    source_sha256: str = ""  # of a user's file that made it

    def __init__(self, model: Callable[[list[Tensor]], Any], name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, images: Images) -> list[Detections]:
        """Detect in N×3×H×W images or a list of 3×H×W images of any sizes, values in [0, 1].

        Raises:
            InputError: the images, or what the model returned for them, have another shape, or
                images are outside of [0, 1].
        """
        check_detector_images(images, self.name)
        if len(images) == 0:
            return []
        given = list(images)
        if isinstance(self.model, nn.Module):
            given = [image.to(weights_dtype(self.model, image)) for image in given]
        found = self.model(given)
        _check_found(found, len(images), self.name)
        return list(found)


def _check_found(found: Any, count: int, name: str) -> None:
    if not isinstance(found, Sequence) or len(found) != count:
        given = f"{len(found)} of them" if isinstance(found, Sequence) else type(found).__name__
        raise InputError(f"{name} returned {given} for {count} images; expected a list of dicts")
    for one in found:
        shapes = {key: tuple(one[key].shape) if key in one else None for key in _KEYS}
        k = len(one["scores"]) if "scores" in one else 0
        if shapes != {"boxes": (k, 4), "scores": (k,), "labels": (k,)}:
            raise InputError(
                f"{name} returned the shapes {shapes}; expected boxes K×4, scores K, labels K"
            )


def as_detector(model: Callable[[list[Tensor]], Any], *, name: str | None = None) -> AnyDetector:
    """Wrap a user's own detector; a module is put into eval mode, its weight gradients off.

    Args:
        model: Takes a list of 3×H×W images in [0, 1], returns a list of dicts with ``boxes`` K×4
            (left, top, right, bottom in pixels of the image as given), ``scores`` K in [0, 1],
            ``labels`` K category ids and, if it has any, ``masks`` K×1×H×W in [0, 1].
        name: What reports call it; by default the name of its class or function.

    Raises:
        InputError: ``model`` cannot be called.
    """
    if isinstance(model, AnyDetector):
        return model
    if not callable(model):
        raise InputError(f"a {type(model).__name__} was given; expected a callable or module")
    called = name or str(getattr(model, "__name__", type(model).__name__))
    return AnyDetector(model, called).eval().requires_grad_(False)


def torchvision_detector(name: str, *, pretrained: bool = True) -> AnyDetector:
    """Build torchvision's detector ``name``; its labels are COCO category ids.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: torchvision has no such detector; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    network, _ = torchvision_network(
        name,
        "detector",
        "a detector that needs no hub: coco_ssd, centernet (both without masks)",
        pretrained=pretrained,
        family="detection",
        weights_backbone=None,
    )
    return as_detector(network, name=f"torchvision:{name}")
