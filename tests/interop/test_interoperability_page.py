"""The code of docs/interoperability.md, run from top to bottom on a small random model."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import nrpurify
from nrpurify import interop
from nrpurify.core.images import to_picture
from nrpurify.interop.libraries import library

PAGE = Path(__file__).parents[2] / "docs" / "interoperability.md"
PIPELINES = "## Pipelines of data"
LIBRARIES = ("torchattacks", "pyautoattack", "foolbox", "art.attacks.evasion")


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_runs(images):
    for name in LIBRARIES:
        pytest.importorskip(name, exc_type=ImportError)
        library(name, name, name)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
    names = {"model": model, "images": images, "labels": torch.tensor([1, 0, 4])}
    blocks = python_blocks(PAGE.read_text().split(PIPELINES)[0])
    for block in blocks:
        exec(block, names)
    assert len(blocks) >= 6
    assert (names["attacked"] - images).abs().max() > 0
    assert names["success"].shape == (1, 3)
    assert names["classifier"].preprocessing_defences


class Count:
    """MAITE's metric: how many predictions there are."""

    metadata: ClassVar = {"id": "count"}
    total = 0

    def reset(self):
        self.total = 0

    def update(self, predictions, targets, metadata):
        self.total += len(predictions)

    def compute(self):
        return {"count": self.total}


class Data(list):
    """MAITE's data set."""

    metadata: ClassVar = {"id": "small"}


@pytest.mark.filterwarnings("default")
def test_the_pipelines_run(images):
    transformers, datasets = map(pytest.importorskip, ("transformers", "datasets"))
    pytest.importorskip("maite")
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    torch.manual_seed(0)
    picture = to_picture(images[0])
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 4}
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "vocab_size": 9}
    clip = transformers.CLIPConfig(text_config=text, vision_config=small, projection_dim=6)
    features = datasets.Features({"image": datasets.Image()})
    names = {
        "nrpurify": nrpurify,
        "interop": interop,
        "model": nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)),
        "picture": picture,
        "array": np.asarray(picture),
        "mask": np.zeros((16, 16), np.uint8),
        "boxes": tv_tensors.BoundingBoxes([[0, 0, 8, 8]], format="XYXY", canvas_size=(16, 16)),
        "processor": transformers.ViTImageProcessor(size={"height": 16, "width": 16}),
        "vit": transformers.ViTForImageClassification(transformers.ViTConfig(**small)),
        "clip": transformers.CLIPModel(clip).eval(),
        "pixel_values": (images - 0.5) / 0.25,
        "dataset": datasets.Dataset.from_dict({"image": [picture]}, features=features),
        "maite_dataset": Data((image.numpy(), np.eye(5)[0], {"id": 0}) for image in images),
        "metric": Count(),
    }
    blocks = python_blocks(PAGE.read_text().split(PIPELINES)[1])
    missing = 0
    for block in blocks:
        if all(map(find_spec, re.findall(r"^import (\w+)", block, re.MULTILINE))):
            exec(block, names)
        else:
            missing += 1
    assert missing <= 1, "albumentations alone may be missing"
    assert names["boxes"].tolist() == [[0, 0, 56, 56]]
    assert names["result"] == {"count": 3}
    for example in (names["found"], names["purified"][0], names["dataset"][0]):
        assert not np.array_equal(np.asarray(example["image"]), names["array"])
