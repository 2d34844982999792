"""The real weights against what TensorFlow.js 4.22.0 (its CPU backend) returned in node.

``tfjs_reference.json`` holds, for three photographs that foolbox ships, coco-ssd's boxes after its
own suppression (overlap 0.5, scores from 0.05), CenterNet's raw detections from 0.05, and of the
upper left 224×224 pixels the first twelve of MobileNetV2's pooled features.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from nrpurify.core.images import read_image
from nrpurify.models.detectors import load_detector
from nrpurify.models.features import feature_extractor

pytestmark = pytest.mark.slow
REFERENCE = json.loads(Path(__file__).with_name("tfjs_reference.json").read_text())
OPTIONS = {"coco_ssd": {"max_detections": 20}, "centernet": {"max_iou": 1.0}}


def photo(name):
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("foolbox, which ships the photographs, is not installed")
    return read_image(Path(spec.origin).parent / "data" / name).rgb


@pytest.mark.parametrize("name", ["coco_ssd", "centernet"])
def test_same_boxes_and_scores_as_the_original(name):
    detector = load_detector(name, min_score=0.05, **OPTIONS[name])
    images = [photo(entry["photo"]) for entry in REFERENCE]
    assert len({image.shape for image in images}) == 2
    with torch.no_grad():
        answers = detector(images)
    for entry, image, found in zip(REFERENCE, images, answers, strict=True):
        want = entry[name]
        height, width = image.shape[1:]
        sides = torch.tensor([width, height, width, height])
        boxes = torch.tensor([w["box"] for w in want]).clamp(min=0).minimum(sides)
        assert want
        assert found["labels"].tolist() == [w["label"] for w in want]
        torch.testing.assert_close(found["boxes"], boxes, atol=1, rtol=0)
        scores = torch.tensor([w["score"] for w in want])
        torch.testing.assert_close(found["scores"], scores, atol=1e-3, rtol=0)


def test_same_features_as_the_original():
    extractor = feature_extractor("mobilenet_v2_140", "last")
    for entry in REFERENCE:
        with torch.no_grad():
            (found,) = extractor(photo(entry["photo"])[None, :, :224, :224])
        want = torch.tensor(entry["mobilenet_v2_140"])
        torch.testing.assert_close(found.mean((2, 3))[0, :12], want, atol=1e-4, rtol=1e-3)
