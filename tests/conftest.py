"""Tiny random networks and generated photos, shared by all tests; one thread of torch a worker."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: its threads, and those of child processes

import hypothesis
import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion

from nrpurify.core import plugins, versions
from nrpurify.core.images import write_png
from nrpurify.models.features import FeatureExtractor

torch.set_num_threads(1)  # the workers share the cores, and sums keep one order
hypothesis.settings.register_profile("suite", max_examples=50, deadline=None)
hypothesis.settings.load_profile("suite")  # no deadline: a busy machine is no fault of the code


def generated_photo(index: int, height: int = 44, width: int = 52) -> torch.Tensor:
    """A 3×H×W picture: a colored gradient with a disk."""
    generator = torch.Generator().manual_seed(index)
    rows = torch.linspace(0, 1, height).view(1, -1, 1)
    columns = torch.linspace(0, 1, width).view(1, 1, -1)
    a, b, center = (torch.rand(3, 1, 1, generator=generator) for _ in range(3))
    disk = ((rows - center[0]).square() + (columns - center[1]).square() < 0.06).float()
    return (a * rows + b * columns + 0.4 * disk * center).clamp(0, 1)


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """A plug-in that one test loads is recorded in no other test's results."""
    monkeypatch.setattr(versions, "PLUGINS", {})
    monkeypatch.setattr(plugins, "PLUGINS", versions.PLUGINS)


@pytest.fixture(autouse=True)
def trace():
    """AutoAttack's reference leaves no tracer behind, coverage's neither."""
    tracer = sys.gettrace()
    yield
    sys.settrace(tracer)


def pytest_collection_modifyitems(items):
    """The oldest torch runs everything but torch.export and torch.compile of protected models."""
    if TorchVersion(torch.__version__) >= (2, 14):
        return
    old = pytest.mark.skip(reason="torch.export and torch.compile are tried with torch 2.14")
    for item in items:
        if item.path.name == "test_protected.py" and any(
            x in item.name for x in ("export", "compil")
        ):
            item.add_marker(old)


@pytest.fixture(autouse=True)
def seed():
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture
def photo_folder(tmp_path):
    """Six PNG photos in two folders."""
    for index in range(6):
        write_png(tmp_path / "data" / f"part{index % 2}" / f"{index}.png", generated_photo(index))
    return tmp_path / "data"


@pytest.fixture
def body():
    """A small random convolutional chain with named layers."""
    torch.manual_seed(0)
    chain = nn.Sequential()
    chain.add_module("conv1", nn.Conv2d(3, 8, 3, padding=1))
    chain.add_module("relu1", nn.ReLU())
    chain.add_module("conv2", nn.Conv2d(8, 12, 3, padding=1))
    chain.add_module("relu2", nn.ReLU())
    return chain


@pytest.fixture
def extractor(body):
    return FeatureExtractor(body, "conv2")


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(7))
