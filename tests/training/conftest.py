"""Micro runs without downloads."""

import importlib.util
from pathlib import Path

import pytest
from safetensors.torch import load_file

from nrpurify.core.progress import SILENT
from nrpurify.training import train


@pytest.fixture(scope="session")
def program() -> Path:
    """The file of the micro run, to be started as a process."""
    return Path(__file__).with_name("micro.py")


@pytest.fixture
def micro(program, monkeypatch):
    """The module ``micro.py``, with its random extractor in place."""
    spec = importlib.util.spec_from_file_location("nrpurify_tests_micro", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.patch(monkeypatch.setattr)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return module


@pytest.fixture
def go(micro, photo_folder, tmp_path):
    """Trains by the micro recipe, changed, into a folder of that name."""

    def start(folder, *, progress=SILENT, resume=False, warm_start=None, **changes):
        return train(
            photo_folder, tmp_path / folder, micro.recipe(**changes), progress=progress,
            resume=resume, warm_start=warm_start,
        )  # fmt: skip

    return start


@pytest.fixture
def weight_size():
    """The sum of all absolute weights in a file: what a training came to, in one number."""
    return lambda file: sum(float(x.double().abs().sum()) for x in load_file(file).values())
