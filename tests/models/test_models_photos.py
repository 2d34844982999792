"""The real weights on the 20 labelled photographs that foolbox ships."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify import models, weights

RIGHT = {
    "efficientnet_lite0": 17,
    "efficientnet_lite1": 19,
    "efficientnet_lite2": 18,
    "efficientnet_lite3": 18,
    "squeezenet1_1": 13,
    "mobilenet_v1_025": 14,
    "mobilenet_v2_ridge": 12,
    "resnet50_thin_ridge": 9,
    "xception_ridge": 15,
}
pytestmark = pytest.mark.slow


def photos() -> list[Path]:
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("foolbox, which ships the photographs, is not installed")
    return sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))


def read(path: Path, side: int) -> torch.Tensor:
    image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("name", models.names())
def test_accuracy_on_the_photographs(name):
    paths = photos()
    labels = torch.tensor([int(path.stem.split("_")[2]) for path in paths])
    classifier = models.load_classifier(name)
    images = torch.stack([read(path, classifier.input_size) for path in paths])
    with torch.no_grad():
        predicted = classifier(images).argmax(1)
    assert len(paths) == 20
    assert int((predicted == labels).sum()) == RIGHT[name]


@pytest.mark.parametrize("name", weights.names())
def test_converted_weights_are_those_of_the_table(name):
    assert weights.state_digest(weights.load(name)) == weights.get(name).digest
