"""Pillow, numpy and tensors in, the same out."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.images import to_uint8
from nrpurify.interop.pictures import defend_picture
from nrpurify.purifiers import build_purifier


@pytest.fixture
def pixels():
    """H×W×3 uint8."""
    return np.random.default_rng(0).integers(0, 256, (14, 11, 3), dtype=np.uint8)


@pytest.fixture
def expected(pixels, defense):
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    return to_uint8(defense(planes))[0].permute(1, 2, 0).numpy()


def test_arrays_of_all_layouts(pixels, expected, defense):
    found = defend_picture(defense, pixels)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, pixels)
    opacity = np.full((14, 11, 1), 7, np.uint8)
    with_opacity = defend_picture(defense, np.concatenate([pixels, opacity], 2))
    assert np.array_equal(with_opacity, np.concatenate([expected, opacity], 2))
    assert np.array_equal(defend_picture(defense, np.stack([pixels] * 2))[1], expected)
    planes = defend_picture(defense, pixels.transpose(2, 0, 1))
    assert np.array_equal(planes, expected.transpose(2, 0, 1))
    floats = defend_picture(defense, pixels.astype(np.float64) / 255)
    assert floats.dtype == np.float64
    assert np.abs(255 * floats - expected).max() < 0.51
    pixels.setflags(write=False)
    assert np.array_equal(defend_picture(defense, pixels), expected)


def test_tensors(pixels, expected, defense):
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    found = defend_picture(defense, planes)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)
    half = defend_picture(defense, (planes[None] / 255).half())
    assert (half.dtype, half.shape) == (torch.float16, (1, 3, 14, 11))
    assert not half.requires_grad
    none = torch.empty(0, 3, 4, 4)
    assert defend_picture(defense, none).shape == none.shape


def test_pillow(pixels, expected, defense):
    picture = Image.fromarray(pixels)
    assert np.array_equal(np.asarray(defend_picture(defense, picture)), expected)
    picture.putalpha(9)
    found = defend_picture(defense, picture)
    assert found.mode == "RGBA"
    assert np.array_equal(np.asarray(found)[..., :3], expected)
    assert (np.asarray(found)[..., 3] == 9).all()
    for given, mode in (("L", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("LA", "RGBA")):
        assert defend_picture(defense, picture.convert("RGB").convert(given)).mode == mode
    with pytest.raises(InputError, match="Pillow's mode I;16; expected 8 bits"):
        defend_picture(defense, Image.new("I;16", (4, 4)))


def test_a_purifier_works_in_tiles_on_8_bits(monkeypatch, pixels):
    purifier = build_purifier("micro")
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = purifier.purify_pixels(planes[None])[0]
    monkeypatch.setattr(type(purifier), "forward", None)
    monkeypatch.setattr(type(purifier), "purify_pixels", lambda self, given: expected[None])
    assert torch.equal(defend_picture(purifier, planes), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cat.jpg", "a picture is a str; expected a Pillow image"),
        (np.zeros((4, 4), np.uint8), r"an array has shape \(4, 4\); expected H×W×3"),
        (torch.zeros(1, 4, 4), r"a tensor has shape \(1, 4, 4\); expected 3×H×W"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "pixels are torch.int32; expected uint8"),
        (np.full((4, 4, 3), 128.0), "divide uint8 values by 255"),
    ],
)
def test_other_pictures_are_refused(defense, given, message):
    with pytest.raises(InputError, match=message):
        defend_picture(defense, given)


def test_defenses_that_change_the_size_are_refused(pixels):
    with pytest.raises(InputError, match=r"made \(7, 5\) of \(14, 11\) pixels; expected the same"):
        defend_picture(nn.AvgPool2d(2), pixels)
