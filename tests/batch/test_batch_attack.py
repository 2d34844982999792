"""Whatever one image does, the others are attacked."""

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.attacks.runner import AttackRunner
from nrpurify.batch import AttackOptions, attack, attack_folder
from nrpurify.core.errors import InputError
from nrpurify.core.images import Image


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name, side in (("a", 16), ("b", 20), ("c", 16)):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        PilImage.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def attacked(folder):
    """Statuses by name, and reasons; b.png, of 20 pixels a side, is the one that fails."""
    result = attack_folder(folder, folder.parent / "out", AttackOptions(name="noise"))
    assert [item.status for item in result.items] == ["done", "failed", "done"]
    [(path, reason)] = result.failures
    assert path.name == "b.png"
    assert (folder.parent / "out" / "c.png").is_file()
    return reason


def failing(function, error, *, side):
    """The function, which fails where a tensor or an image among its arguments has this side."""

    def call(*args, **options):
        sides = [getattr(thing, "pixels", thing) for thing in args]
        if any(isinstance(thing, torch.Tensor) and thing.shape[-1] == side for thing in sides):
            raise error
        return function(*args, **options)

    return call


def test_an_image_that_takes_too_much_memory_as_floats(folder, monkeypatch):
    rgb = failing(Image.rgb.fget, MemoryError("no memory"), side=20)
    monkeypatch.setattr(Image, "rgb", property(rgb))
    assert "no memory" in attacked(folder)


def test_a_batch_that_does_not_fit_the_device(folder, monkeypatch):
    moved = failing(torch.Tensor.to, torch.OutOfMemoryError("out of memory"), side=20)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    assert "out of memory" in attacked(folder)


def test_a_model_that_raises(folder, monkeypatch):
    run = failing(AttackRunner.__call__, IndexError("no such layer"), side=20)
    monkeypatch.setattr(AttackRunner, "__call__", run)
    assert "no such layer" in attacked(folder)


@pytest.mark.parametrize("name", ["check_budget", "round_within", "write_png"])
def test_work_behind_the_attack_that_raises(folder, monkeypatch, name):
    broken = failing(getattr(attack, name), RuntimeError("out of memory"), side=20)
    monkeypatch.setattr(attack, name, broken)
    assert "out of memory" in attacked(folder)


def test_an_attack_that_leaves_its_budget_still_ends_the_run(folder, monkeypatch):
    monkeypatch.setattr(AttackRunner, "__call__", lambda self, images, classes: 1 - images)
    with pytest.raises(AssertionError, match="left its box"):
        attack_folder(folder, folder.parent / "out", AttackOptions(name="noise"))


@pytest.mark.parametrize("name", ["a.tar", "clip.mp4", "x.parquet"])
def test_files_of_many_images_are_not_attacked(folder, name):
    (folder / name).write_bytes(b"many images")
    with pytest.raises(InputError, match=f"{name}' is no image file; attack reads images only"):
        attack_folder(folder / name, folder.parent / "out", AttackOptions(name="noise"))
