"""A world without downloads: random victims and surrogate, a tiny purifier, generated photos."""

import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.models import as_classifier, features
from nrpurify.purifiers import build_purifier, save_purifier


class Colors(nn.Module):
    """1,000 classes, of which the strongest color channel decides among the first three."""

    def forward(self, images):
        scores = images.mean((2, 3))
        return torch.cat([scores, scores.new_full((len(scores), 997), -1.0)], 1)


def load_colors(name, **_):
    """A classifier by any name but those that begin with "no"."""
    if name.startswith("no"):
        raise InputError(f"there is no classifier {name!r}")
    return as_classifier(Colors(), 1000, name=name)


@pytest.fixture
def offline(monkeypatch):
    """Let names of victims and surrogates mean small random networks."""
    torch.manual_seed(0)
    body = nn.Sequential()
    body.add_module("conv3_3", nn.Conv2d(3, 4, 3))
    monkeypatch.setattr(
        "nrpurify.models.features.feature_extractor",
        lambda name, layer: features.FeatureExtractor(body, layer),
    )
    monkeypatch.setattr("nrpurify.models.load_classifier", load_colors)


@pytest.fixture
def purifier_file(tmp_path):
    torch.manual_seed(0)
    save_purifier(build_purifier("micro"), tmp_path / "tiny.safetensors")
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


@pytest.fixture
def cell():
    """Make a cell as a grid does, with anything changed; settings are merged."""

    def make(name, **changes):
        settings = {"random": False, "passes": 1, "seen_in_training": [], "in_mean": True}
        settings |= {"classes": 10, "precision": "fp32"} | changes.pop("settings", {})
        clean = {"attack": "clean", "surrogate": None, "eps": None, "steps": None}
        measured = {"threat": "none", "defense": "none", "victim": "v", "value": 0.9, "n": 50}
        return {"id": name, **clean, **measured, "draws": 1, **changes, "settings": settings}

    return make
