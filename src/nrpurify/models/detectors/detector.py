"""The one shape of a detector: images in [0, 1] go in, torchvision's dicts come out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_pixels
from nrpurify.core.precision import weights_dtype
from nrpurify.models.detectors.boxes import Detections, into_frame, suppress
from nrpurify.models.detectors.layers import resize_bilinear
from nrpurify.weights import Preprocessing

Images = Tensor | Sequence[Tensor]
Candidates = tuple[Tensor, Tensor, Tensor]
"""N×K×4 boxes in shares of the image, N×K scores in [0, 1], N×K category ids."""


def check_detector_images(images: Images, name: str) -> None:
    """Raise InputError unless ``images`` are N×3×H×W or a sequence of 3×H×W, in [0, 1]."""
    if isinstance(images, Tensor) and images.ndim != 4:
        raise InputError(
            f"{name} was given a tensor of shape {tuple(images.shape)}; expected N×3×H×W or a list "
            "of 3×H×W"
        )
    if isinstance(images, Tensor):
        check_pixels(images, f"the batch for {name}")
        return
    for k, image in enumerate(images):
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3:
            given = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"{name} was given {given} as image {k}; expected 3×H×W in [0, 1]")
        check_pixels(image[None], f"image {k} for {name}")


class Detector(nn.Module):
    """A one-stage network with its preprocessing inside; everything before the choice of boxes is
    differentiable (:meth:`raw`).

    The network gets images in the precision of its weights.

    Args:
        network: Takes N×3×size×size; what it returns is read by :meth:`candidates`.
        name: What reports call it.
        preprocessing: What ``network`` expects; images are resized as a whole to its size.
        min_score: Detections below are left out; the metric wants this low.
        max_iou: Of two boxes that overlap more, only the better one is kept, whatever their
            categories, as the published programs of both networks do.
        max_detections: Most detections an image.
    """

    name: str
    source_sha256: str = ""  # of a user's file that made it
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        preprocessing: Preprocessing,
        min_score: float = 0.01,
        max_iou: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        assert preprocessing.size is not None
        self.network = network
        self.name = name
        self.size = preprocessing.size
        self.min_score, self.max_iou = min_score, max_iou
        self.max_detections = max_detections
        for key in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, key)).view(3, 1, 1)
            self.register_buffer(key, values, persistent=False)

    def preprocess(self, images: Images) -> Tensor:
        """Return what the network sees, N×3×size×size, of images of one size or several."""
        if isinstance(images, Tensor):
            resized = resize_bilinear(images, self.size, self.size)
        else:
            each = [resize_bilinear(image[None], self.size, self.size) for image in images]
            resized = torch.cat(each)
        return (resized - self.mean.to(resized.dtype)) / self.std.to(resized.dtype)

    def raw(self, images: Images) -> Any:
        """The network's own outputs, differentiable in the images.

        Raises:
            InputError: the images have another shape, or are outside of [0, 1].
        """
        check_detector_images(images, self.name)
        return self._ask(images)

    def _ask(self, images: Images) -> Any:
        shown = self.preprocess(images)
        return self.network(shown.to(weights_dtype(self.network, shown)))

    def candidates(self, raw: Any) -> Candidates:
        """Turn the network's outputs into boxes, scores and labels, none left out yet.

        Boxes and scores are at least fp32: in half precision a box is right to some pixels only.
        """
        raise NotImplementedError

    def forward(self, images: Images) -> list[Detections]:
        """Detect in N×3×H×W images or a list of 3×H×W images of any sizes, values in [0, 1].

        Returns:
            One dict an image, see :data:`nrpurify.models.detectors.Detections`; boxes are in
            pixels of the image as given, labels are COCO category ids.

        Raises:
            InputError: the images have another shape, or are outside of [0, 1].
        """
        check_detector_images(images, self.name)
        if len(images) == 0:
            return []
        found = zip(*self.candidates(self._ask(images)), strict=True)
        return [
            self._choose(*each, image.shape[-2:]) for each, image in zip(found, images, strict=True)
        ]

    def _choose(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, frame: tuple[int, int]
    ) -> Detections:
        likely = scores >= self.min_score
        boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
        kept = suppress(boxes, scores, self.max_iou)[: self.max_detections]
        return {
            "boxes": into_frame(boxes[kept], *frame),
            "scores": scores[kept],
            "labels": labels[kept],
        }
