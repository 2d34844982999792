"""The models of a server, and what they do to decoded images; all of it runs in worker threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nrpurify.batch.defend import defend_image, defend_together
from nrpurify.batch.pipeline import use_cores
from nrpurify.core.hashing import pixels_hash, tensors_hash
from nrpurify.core.images import Image, as_floats
from nrpurify.core.precision import arithmetic
from nrpurify.core.random import derive_generator
from nrpurify.defenses import make, reseed
from nrpurify.models import load_classifier
from nrpurify.models.detectors import COCO_CATEGORIES, detector_names, load_detector
from nrpurify.models.features import FeatureExtractor, feature_extractor
from nrpurify.models.victims import class_name
from nrpurify.purifiers import Purifier
from nrpurify.serving.answers import Box, ClassScore, Prediction, PurifierInfo, VictimInfo
from nrpurify.serving.settings import ServeSettings

_TOP = 5
"""Classes in an answer."""
_LIKELY = 0.3
"""Least score of a box in an answer."""
OVERHEAD = 20_000
"""What an image costs beside its pixels, in pixels."""
_KNOWN = 1000
"""Sizes and numbers of images for which is kept whether a batch changes results."""
_WARM_SIDE, _NOWHERE = 96, Path()


@dataclass(frozen=True)
class PurifiedImage:
    """An image after a purifier.

    Attributes:
        rgb: 3×H×W uint8, or floats in [0, 1] where the file had more than 8 bits.
        alpha: 1×H×W of the same type; None without transparency.
        gate: See :class:`nrpurify.serving.answers.Purified`.
    """

    rgb: Tensor
    alpha: Tensor | None
    gate: float | None


class _Purifier:
    """A purifier, or another defense, with what its gate decided last in each thread."""

    def __init__(
        self, name: str, module: nn.Module, settings: ServeSettings, tiles: Executor | None
    ) -> None:
        self.name, self.module, self._settings, self._tiles = name, module, settings, tiles
        self._where: dict[str, Any] = {
            "device": settings.device,
            "tile": settings.tile,
            "amp": settings.amp,
        }
        self._same: dict[tuple[int, torch.Size], bool] = {}
        self._last = threading.local()
        self._lock = threading.Lock()
        self.gate = getattr(module, "gate", None) if isinstance(module, Purifier) else None
        if self.gate is not None:
            self.gate.register_forward_hook(self._keep_share)

    def _keep_share(self, module: nn.Module, inputs: Any, share: Tensor) -> None:
        self._last.shares += [round(float(value), 4) for value in share]

    def __call__(self, images: Sequence[Image]) -> list[PurifiedImage]:
        """Purify images of one size and type; how many go together changes no bit of a result."""
        if isinstance(self.module, Purifier):
            together = self._together(images) if len(images) > 1 else None
            return together or [self._single(image) for image in images]
        with self._lock:  # its generator serves one thread at a time
            return [self._seeded(image) for image in images]

    def _together(self, images: Sequence[Image]) -> list[PurifiedImage] | None:
        """One batch; None where the first of this size and number differed from single images."""
        key = (len(images), images[0].pixels.shape)
        if self._same.get(key) is False:
            return None
        self._last.shares = []
        found = defend_together(self.module, images, check=key not in self._same, **self._where)
        if len(self._same) >= _KNOWN:
            self._same.clear()
        self._same[key] = found is not None
        if found is None:
            return None
        shares = self._last.shares[: len(images)] or [None] * len(images)
        return [PurifiedImage(*one, share) for one, share in zip(found, shares, strict=True)]

    def _single(self, image: Image) -> PurifiedImage:
        self._last.shares = []
        large = image.pixels[0].numel() > self._settings.small_pixels
        tiles = self._tiles if large else None  # their tiles would be in the way of small images
        rgb, alpha = defend_image(self.module, image, executor=tiles, **self._where)
        return PurifiedImage(rgb, alpha, next(iter(self._last.shares), None))

    def _seeded(self, image: Image) -> PurifiedImage:
        source = pixels_hash(image.rgb)
        reseed(self.module, derive_generator(self._settings.seed, "defense", source))
        return self._single(image)

    @cached_property
    def info(self) -> PurifierInfo:
        """For clients."""
        return PurifierInfo(
            name=self.name,
            default=self.name == next(iter(self._settings.purifiers)),
            parameters=sum(weight.numel() for weight in self.module.parameters()),
            gated=self.gate is not None,
            sha256=tensors_hash(self.module.state_dict()),
            precision=arithmetic(self._settings.amp, self._settings.device),
        )


class _Victim:
    """A classifier or a detector, with the names of what it knows."""

    def __init__(self, name: str, spec: str, device: str) -> None:
        self.name = name
        self.task: Literal["classify", "detect"] = "classify"
        self.module: nn.Module
        if spec in detector_names():
            self.task, self.module = "detect", load_detector(spec, device=device)
        else:
            self.module = load_classifier(spec, device=device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Prediction]:
        """Predict for N×3×H×W images in [0, 1]."""
        found = self.module(images)
        one = self._boxes if self.task == "detect" else self._classes
        return [one(answer) for answer in found]

    def _classes(self, logits: Tensor) -> Prediction:
        shares = logits.float().softmax(0)
        best = shares.topk(min(_TOP, len(shares)))
        classes = [
            ClassScore(index=index, name=class_name(index, len(shares)), probability=round(p, 4))
            for p, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        return Prediction(victim=self.name, task=self.task, classes=classes, boxes=[])

    def _boxes(self, found: dict[str, Tensor]) -> Prediction:
        columns = zip(*(found[key].tolist() for key in ("boxes", "scores", "labels")), strict=True)
        boxes = [
            Box(
                **dict(zip(("left", "top", "right", "bottom"), corners, strict=True)),
                score=round(score, 4),
                name=COCO_CATEGORIES.get(label, f"category {label}"),
            )
            for corners, score, label in columns
            if score >= _LIKELY
        ]
        return Prediction(victim=self.name, task=self.task, classes=[], boxes=boxes)

    @property
    def info(self) -> VictimInfo:
        """For clients."""
        return VictimInfo(name=self.name, task=self.task)


def _tile_threads() -> Executor:
    """One thread a core; all cores together would spend more on each tile."""
    cores = torch.get_num_threads()
    return ThreadPoolExecutor(cores, "tiles", initializer=use_cores, initargs=(1,))


class Engine:
    """All models by the names that requests use.

    Attributes:
        seconds: For each pixel of an image, see :data:`OVERHEAD`, of the default purifier.

    Args:
        settings: Which models, and where they work.

    Raises:
        InputError: A name or spec that does not exist.
        WeightsError: Weights could not be found or downloaded.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        device = settings.device
        tiles = _tile_threads() if torch.device(device).type == "cpu" else None
        self.purifiers = {
            name: _Purifier(name, make(spec, device=device), settings, tiles)
            for name, spec in settings.purifiers.items()
        }
        self.victims = {
            name: _Victim(name, spec, device) for name, spec in settings.victims.items()
        }
        self.extractor: FeatureExtractor | None = None
        if settings.attack:
            self.extractor = feature_extractor("vgg16").to(device)
        self._warm()

    def _warm(self) -> None:
        """Pass one image through every model, so that a broken one ends the start."""
        pixels = torch.full((3, _WARM_SIDE, _WARM_SIDE), 128, dtype=torch.uint8)
        image = Image(pixels, None, path=_NOWHERE)
        for name in reversed(self.purifiers):  # the default one last, and again, to be timed
            self.purify(name, [image])
        begun = time.perf_counter()
        self.purify(name, [image])
        self.seconds = (time.perf_counter() - begun) / (_WARM_SIDE**2 + OVERHEAD)
        for name in self.victims:
            self.predict((name, None), [image])

    def purify(self, name: str, images: Sequence[Image]) -> list[PurifiedImage]:
        """Purify decoded images of one size.

        Args:
            name: One of ``purifiers``.
            images: Any number.
        """
        return self.purifiers[name](images)

    def predict(
        self, names: tuple[str, str | None], images: Sequence[Image]
    ) -> list[tuple[Prediction, float | None]]:
        """What a victim predicts for decoded images of one size, and what the gate decided.

        The victim sees what ``purify`` returns, rounded to 8 bits.

        Args:
            names: A victim, and a purifier before it or None.
            images: Any number.
        """
        victim, purifier = names
        shown = [image.pixels for image in images]
        gates: list[float | None] = [None] * len(images)
        if purifier is not None:
            purified = self.purify(purifier, images)
            shown = [image.rgb for image in purified]
            gates = [image.gate for image in purified]
        batch = torch.stack([as_floats(pixels) for pixels in shown]).to(self.settings.device)
        return list(zip(self.victims[victim](batch), gates, strict=True))
