"""Small photos, an untrained purifier (which is nearly the identity) and random surrogates."""

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.cli import main
from nrpurify.models.registry import BODIES
from nrpurify.purifiers import build_purifier, save_purifier


def pixels(seed=0, height=24, width=32, channels=3):
    """A smooth uint8 picture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, channels), dtype=np.uint8).squeeze())
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def photo():
    """Write a smooth photo, by default 32 pixels wide and 24 high."""

    def write(path, seed=0, height=24, width=32):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed, height, width)).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path, photo):
    """A folder of three photos, one of them in a sub-folder."""
    for seed, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        photo(tmp_path / "in" / name, seed)
    return tmp_path / "in"


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("purifier") / "tiny.safetensors"
    save_purifier(build_purifier("micro"), path)
    return str(path)


@pytest.fixture
def random_weights(monkeypatch, tmp_path):
    """Surrogates get random weights; neither cache nor network is touched."""

    def load(name):
        torch.manual_seed(1)
        return BODIES.get(name).make().state_dict()

    monkeypatch.setattr("nrpurify.weights.load", load)
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(capsys):
    """Run the command line; gives exit code, stdout and stderr."""

    def command(*args):
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return command
