"""EfficientNet-Lite3 against its own 8-bit file, as LiteRT runs it.

``tflite_reference.json`` holds, for the 20 photographs that foolbox ships, resized to 280 pixels
and rounded to 8 bits, the class and probability that ai-edge-litert 2.3.0 gave. There activations
are 8-bit integers, here they are floats: probabilities differ by 0.09 in the mean, and two classes.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nrpurify import models
from nrpurify.core.images import read_image

pytestmark = pytest.mark.slow
REFERENCE = json.loads(Path(__file__).with_name("tflite_reference.json").read_text())


def test_same_classes_as_the_original_but_for_two():
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("foolbox, which ships the photographs, is not installed")
    network, same, apart = models.load_classifier("efficientnet_lite3"), 0, 0.0
    for entry in REFERENCE:
        image = read_image(Path(spec.origin).parent / "data" / entry["photo"]).rgb[None]
        small = F.interpolate(image, (280, 280), mode="bilinear", antialias=True)
        with torch.no_grad():
            chances = network((255 * small).round().clamp(0, 255) / 255).softmax(1)[0]
        same += int(chances.argmax()) == entry["class"]
        apart += abs(float(chances[entry["class"]]) - entry["probability"]) / len(REFERENCE)
    assert same >= 18
    assert apart < 0.1
