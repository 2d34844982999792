"""Tiny random networks and generated pictures: what the scale smoke runs on, without a download."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from nrpurify import models
from nrpurify.core.images import write_png
from nrpurify.data.labels import LabeledImage
from nrpurify.models import Classifier
from nrpurify.models.bodies import vgg16_body
from nrpurify.models.features import FeatureExtractor, check_layers

CLASSES = 10
SIDE = 32
COUNT = 6


def tiny_body(seed: int) -> nn.Sequential:
    """Two random convolutions with named layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential()
        body.add_module("conv1", nn.Conv2d(3, 8, 3, 2, padding=1))
        body.add_module("relu1", nn.ReLU())
        body.add_module("conv2", nn.Conv2d(8, 16, 3, 2, padding=1))
        body.add_module("relu2", nn.ReLU())
    return body


def tiny_classifier(name: str) -> Classifier:
    """A random network of :data:`CLASSES` classes; each name has its own weights."""
    seed = zlib.crc32(name.encode())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(16, CLASSES)
    network = nn.Sequential(tiny_body(seed), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    classifier = Classifier(network, name=name, num_classes=CLASSES)
    return classifier.eval().requires_grad_(False)


def tiny_extractor(name: str, layers: str | Iterable[str] | None = None) -> FeatureExtractor:
    """The second convolution of a random network, whatever layer is asked for.

    Raises:
        InputError: ``layers`` are none of the real network of that name.
    """
    if layers and name in ("vgg16", "hed_vgg16"):
        check_layers(vgg16_body(), (layers,) if isinstance(layers, str) else tuple(layers))
    return FeatureExtractor(tiny_body(zlib.crc32(name.encode())), "conv2")


def picture(index: int) -> Tensor:
    """A generated picture 3×:data:`SIDE`×:data:`SIDE`: a colored gradient with a disk."""
    generator = torch.Generator().manual_seed(index)
    draw = torch.rand(3, 3, 1, 1, generator=generator, device="cpu")
    ramp = torch.linspace(0, 1, SIDE)
    rows, columns = ramp.view(1, -1, 1), ramp.view(1, 1, -1)
    disk = ((rows - draw[2, 0]).square() + (columns - draw[2, 1]).square() < 0.06).float()
    return (draw[0] * rows + draw[1] * columns + 0.4 * disk).clamp(0, 1)


def pictures(folder: Path, count: int = COUNT) -> list[LabeledImage]:
    """Write generated pictures with labels that say nothing; those that are there are kept."""
    found = []
    for index in range(count):
        path = folder / f"generated-{index}.png"
        if not path.exists():
            write_png(path, picture(index))
        found.append(LabeledImage(path, index % CLASSES))
    return found


@contextmanager
def tiny_networks() -> Iterator[None]:
    """While the block runs, every classifier and feature extractor is a tiny random one."""

    def classifier(name: str, **options: Any) -> Classifier:
        return tiny_classifier(name).to(options.get("device"))

    def extractor(name: str = "vgg16", layers: Any = None, **_: Any) -> FeatureExtractor:
        return tiny_extractor(name, layers)

    rooms = ("models.features", "training.adversaries", "training.losses", "training.validation")
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(0)  # of the random detectors and segmenters that a run builds
        stack.enter_context(patch.object(models, "load_classifier", classifier))
        for room in rooms:
            stack.enter_context(patch(f"nrpurify.{room}.feature_extractor", extractor))
        yield
