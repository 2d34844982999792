"""A world without downloads: random victims and surrogate, a tiny purifier, generated photos."""

from importlib import import_module

import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify import features
from nrpurify.evaluation import folder as folder_module
from nrpurify.models import as_classifier
from nrpurify.purifiers import build_purifier, save_purifier


class Colors(nn.Module):
    """1,000 classes, of which the strongest color channel decides among the first three."""

    def forward(self, images):
        scores = images.mean((2, 3))
        return torch.cat([scores, scores.new_full((len(scores), 997), -1.0)], 1)


@pytest.fixture
def offline(monkeypatch):
    """Let names of victims and surrogates mean small random networks."""
    torch.manual_seed(0)
    body = nn.Sequential()
    body.add_module("conv3_3", nn.Conv2d(3, 4, 3))
    monkeypatch.setattr(
        import_module("nrpurify.attacks.ssp"),
        "feature_extractor",
        lambda name, layer: features.FeatureExtractor(body, layer),
    )
    monkeypatch.setattr(
        folder_module, "load_classifier", lambda name: as_classifier(Colors(), 1000, name=name)
    )


@pytest.fixture
def purifier_file(tmp_path):
    torch.manual_seed(0)
    save_purifier(build_purifier("tiny"), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photos(tmp_path):
    """Six photos in three folders of one color each; the folders' order is the channels'."""
    for index, name in enumerate(("0", "1", "2")):
        for number in range(2):
            color = [40, 40, 40]
            color[index] = 200 + number
            path = tmp_path / "photos" / name / f"photo{index}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 48), tuple(color)).save(path)
    return tmp_path / "photos"
