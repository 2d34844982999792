"""Label-free losses in feature space.

:func:`feature_distortion` is the paper's (Eq. 4). The others widen the perturbations that a
purifier is trained on. None of them uses a label or a decision boundary. :func:`negative_mean` and
:func:`feature_transfer` change the mean feature vector as a classifier's loss does, without
classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.transforms import diverse_input
from nrpurify.core.precision import Amp, at_least_fp32, autocast
from nrpurify.core.scale import enlarged
from nrpurify.models.feature_distances import feature_distance
from nrpurify.models.features import features_of

Diversity = Callable[[], Callable[[Tensor], Tensor]]


def no_diversity() -> Callable[[Tensor], Tensor]:
    """Leave the images alone."""
    return lambda images: images


def input_diversity(images: Tensor, probability: float, generator: Generator | None) -> Diversity:
    """A source of fresh :func:`~nrpurify.attacks.transforms.diverse_input` draws."""
    if not probability:
        return no_diversity
    return lambda: diverse_input(images.shape, probability, generator)


def _features(extractor: nn.Module, images: Tensor, amp: Amp) -> tuple[Tensor, ...]:
    with autocast(images.device, amp):
        return features_of(extractor, images)


def _seen(
    extractor: nn.Module, transform: Callable[[Tensor], Tensor], images: Tensor, amp: Amp
) -> tuple[Tensor, ...]:
    """Features of transformed images; classifiers see enlarged ones enlarged."""
    shown = transform(images)
    with enlarged(images, shown):
        return _features(extractor, shown, amp)


def _compare(
    extractor: nn.Module,
    reference: Tensor,
    name: str,
    sign: int,
    diversity: Diversity,
    amp: Amp,
) -> Objective:
    fixed: tuple[Tensor, ...] | None = None

    def objective(images: Tensor) -> Tensor:
        nonlocal fixed
        transform = diversity()
        if fixed is None or diversity is not no_diversity:
            with torch.no_grad():
                fixed = tuple(map(at_least_fp32, _seen(extractor, transform, reference, amp)))
        features = _seen(extractor, transform, images, amp)
        return sign * feature_distance(features, fixed, name)

    return objective


def feature_distortion(
    extractor: nn.Module,
    images: Tensor,
    distance: str,
    diversity: Diversity = no_diversity,
    amp: Amp = False,
) -> Objective:
    """Δ(x, x') of Eq. 1: the distance from the features of the clean ``images``."""
    return _compare(extractor, images, distance, +1, diversity, amp)


def feature_matching(
    extractor: nn.Module,
    targets: Tensor,
    distance: str,
    diversity: Diversity = no_diversity,
    amp: Amp = False,
) -> Objective:
    """Minus the distance from the features of other images, ``targets``."""
    return _compare(extractor, targets, distance, -1, diversity, amp)


def random_direction(
    extractor: nn.Module,
    generator: Generator | None = None,
    diversity: Diversity = no_diversity,
    amp: Amp = False,
) -> Objective:
    """The mean feature vector's component along one random direction an image and layer."""
    directions: list[Tensor] = []

    def objective(images: Tensor) -> Tensor:
        pooled = _pooled(_seen(extractor, diversity(), images, amp))
        if not directions:
            directions.extend(_direction(p, generator) for p in pooled)
        return _along_each(pooled, directions)

    return objective


def negative_mean(
    extractor: nn.Module,
    images: Tensor,
    diversity: Diversity = no_diversity,
    amp: Amp = False,
) -> Objective:
    """Minus the mean feature vector's component along that of the clean ``images``."""
    with torch.no_grad():
        directions = [-own for own in _directions(extractor, images, amp)]
    return _component(extractor, directions, diversity, amp)


def feature_transfer(
    extractor: nn.Module,
    images: Tensor,
    targets: Tensor,
    diversity: Diversity = no_diversity,
    amp: Amp = False,
) -> Objective:
    """The component along what leads from the clean ``images`` to other images, ``targets``."""
    with torch.no_grad():
        own, others = (_directions(extractor, x, amp) for x in (images, targets))
    directions = [b - a for a, b in zip(own, others, strict=True)]
    return _component(extractor, directions, diversity, amp)


def mean_vector(layer: Tensor) -> Tensor:
    """The mean feature vector of each image, N×channels.

    Args:
        layer: N×channels×height×width, N×tokens×channels, or N×channels, which is left as it is.
    """
    if layer.ndim == 2:
        return layer
    return layer.mean(1) if layer.ndim == 3 else layer.flatten(2).mean(2)


def _pooled(features: tuple[Tensor, ...]) -> list[Tensor]:
    return [mean_vector(layer.float()) for layer in features]


def _direction(pooled: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(pooled.shape, generator=generator, device="cpu").to(pooled)


def _along_each(pooled: list[Tensor], directions: list[Tensor]) -> Tensor:
    parts = [(p * d).sum(1) for p, d in zip(pooled, directions, strict=True)]
    return torch.stack(parts).sum(0)


def _directions(extractor: nn.Module, images: Tensor, amp: Amp) -> list[Tensor]:
    """Mean feature vectors, each less its own mean over channels and at length 1."""
    pooled = _pooled(_features(extractor, images, amp))
    return [F.normalize(p - p.mean(1, keepdim=True), dim=1) for p in pooled]


def _component(
    extractor: nn.Module, directions: list[Tensor], diversity: Diversity, amp: Amp
) -> Objective:
    def objective(images: Tensor) -> Tensor:
        pooled = _pooled(_seen(extractor, diversity(), images, amp))
        return _along_each(pooled, directions)

    return objective
