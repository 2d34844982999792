"""Data of a segmenter's training: the split, random views, statistics of whole images, accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.random import chance, random_integer, uniform
from nrpurify.data.masks import IGNORED, ClassTable, Pair, Sample, read_sample
from nrpurify.training.photos import rank


def read_labeled(pair: Pair, table: ClassTable) -> Sample:
    """Read one pair.

    Raises:
        InputError: It cannot be used; faulty training data must be mended, it is not skipped.
    """
    sample = read_sample(pair, table)
    if not isinstance(sample, Sample):
        raise InputError(f"{sample.text}; mend it or take it out of the training folder")
    return sample


def random_view(
    sample: Sample,
    size: tuple[int, int],
    scale: tuple[float, float],
    jitter: float,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Cut, resize, mirror and recolor: 3×``size`` in [0, 1] and its int64 mask.

    Args:
        sample: Image and mask.
        size: Height and width of the view.
        scale: Least and greatest factor by which the image is resized; drawn evenly in its
            logarithm.
        jitter: Greatest relative change of brightness, contrast, saturation and gamma.
        generator: Source of the draws.
    """
    low, high = (math.log(s) for s in scale)
    factor = math.exp(uniform(low, high, generator))
    height, width = (
        min(max(round(wanted / factor), 1), side)
        for wanted, side in zip(size, sample.mask.shape, strict=True)
    )
    top = random_integer(0, sample.mask.shape[0] - height, generator)
    left = random_integer(0, sample.mask.shape[1] - width, generator)
    image = sample.image[:, top : top + height, left : left + width]
    mask = sample.mask[top : top + height, left : left + width]
    image = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[
        0
    ].clamp(0, 1)
    mask = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    if chance(0.5, generator):
        image, mask = image.flip(2), mask.flip(1)
    return recolor(image, jitter, generator), mask


def recolor(image: Tensor, jitter: float, generator: Generator) -> Tensor:
    """Change gamma, brightness, contrast and saturation of 3×H×W in [0, 1] by up to ``jitter``."""
    gamma, brightness, contrast, saturation = (
        1 + jitter * (2 * uniform(0, 1, generator) - 1) for _ in range(4)
    )
    image = image.clamp(min=1e-3) ** gamma * brightness
    image = image.mean() + contrast * (image - image.mean())
    grey = image.mean(0, keepdim=True)
    return (grey + saturation * (image - grey)).clamp(0, 1)


def split_pairs(pairs: list[Pair], holdout: float) -> tuple[list[Pair], list[Pair]]:
    """Split into (training, held out) by the hash of the names, alike on every machine.

    Raises:
        InputError: A share outside [0, 1), or nothing left to train on.
    """
    if not 0 <= holdout < 1:
        raise InputError(f"holdout is {holdout}; expected a share in [0, 1)")
    held = round(holdout * len(pairs))
    if held == len(pairs):
        raise InputError(f"holding out {held} of {len(pairs)} pairs leaves none to train on")
    ranked = sorted(pairs, key=lambda pair: rank(pair.name))
    return ranked[held:], ranked[:held]


@torch.no_grad()
def settle_norms(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Replace all batch-norm statistics by the means over ``images``, each 3×H×W in [0, 1].

    Training saw small views; whole images differ from them. The network is in eval mode afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    network.train()
    for image in images:
        network(image[None])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def measure(network: nn.Module, samples: Iterable[Sample], device: torch.device) -> float:
    """Pixel accuracy of a network that returns logits N×classes×H×W, void ignored."""
    right = counted = 0
    for sample in samples:
        predicted = network(sample.image[None].to(device)).argmax(1)[0].cpu()
        known = sample.mask != IGNORED
        right += int((predicted == sample.mask)[known].sum())
        counted += int(known.sum())
    return right / max(counted, 1)
