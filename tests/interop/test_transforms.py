"""``nrpurify.transforms.Purify`` in pipelines of torchvision and albumentations."""

import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.interop.pictures import defend_picture

tv_tensors = pytest.importorskip("torchvision.tv_tensors")
v2 = pytest.importorskip("torchvision.transforms.v2")
from nrpurify.transforms import Purify  # noqa: E402


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (14, 11, 3), dtype=np.uint8)


def test_a_pipeline_of_pillow_images(pixels, defense):
    picture = Image.fromarray(pixels)
    pipeline = v2.Compose(
        [
            Purify(defense),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    expected = torch.from_numpy(np.array(defend_picture(defense, picture))).permute(2, 0, 1)
    torch.testing.assert_close(pipeline(picture), tv_tensors.Image((expected / 255 - 0.5) / 0.5))


def test_boxes_masks_and_labels_stay(pixels, defense):
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    boxes = tv_tensors.BoundingBoxes([[1, 2, 5, 6]], format="XYXY", canvas_size=(14, 11))
    target = {"boxes": boxes, "masks": tv_tensors.Mask(planes[:1]), "labels": torch.tensor([3])}
    image, found = v2.Compose([v2.Identity(), Purify(defense)])(tv_tensors.Image(planes), target)
    assert isinstance(image, tv_tensors.Image)
    assert torch.equal(image.as_subclass(torch.Tensor), defend_picture(defense, planes))
    assert all(found[key] is target[key] for key in target)
    image, label = Purify(defense)(planes, torch.tensor(3))
    assert torch.equal(image, defend_picture(defense, planes))
    assert label == 3


def test_videos_and_batches(pixels, defense):
    frames = torch.from_numpy(pixels).permute(2, 0, 1).repeat(2, 2, 1, 1, 1)
    found = Purify(defense)(tv_tensors.Video(frames))
    assert isinstance(found, tv_tensors.Video)
    assert torch.equal(found[1, 0].as_subclass(torch.Tensor), defend_picture(defense, frames[0, 0]))


def test_arrays_come_first(pixels, defense):
    expected = defend_picture(defense, pixels)
    assert np.array_equal(Purify(defense)(pixels), expected)
    image, mask = Purify(defense)(pixels, pixels[..., 0])
    assert np.array_equal(image, expected)
    assert mask is not None
    assert np.array_equal(mask, pixels[..., 0])
    for sample in ({"image": pixels}, (3, "x"), {"mask": tv_tensors.Mask(torch.zeros(1, 4, 4))}):
        with pytest.raises(InputError, match="no image in the sample"):
            Purify(defense)(sample)


def test_called_as_albumentations_calls(pixels, defense):
    mask = pixels[..., 0]
    found = Purify(defense)(image=pixels, mask=mask)
    assert np.array_equal(found["image"], defend_picture(defense, pixels))
    assert found["mask"] is mask
    with pytest.raises(InputError, match="no image among mask; expected image="):
        Purify(defense)(mask=mask)


@pytest.mark.filterwarnings("default")
def test_albumentations(pixels, defense):
    albumentations = pytest.importorskip("albumentations")
    pipeline = albumentations.Compose(
        [albumentations.HorizontalFlip(p=1), albumentations.Lambda(image=Purify(defense), p=1)]
    )
    mask = pixels[..., 0]
    found = pipeline(image=pixels, mask=mask)
    flipped = np.ascontiguousarray(pixels[:, ::-1])
    assert np.array_equal(found["image"], defend_picture(defense, flipped))
    assert np.array_equal(found["mask"], mask[:, ::-1])


def test_specs_and_other_processes(pixels):
    transform = Purify("median:size=5")
    assert isinstance(transform, nn.Module)
    again = pickle.loads(pickle.dumps(transform))
    assert np.array_equal(again(pixels), transform(pixels))
    assert not np.array_equal(again(pixels), pixels)


def test_torchvision_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "nrpurify.transforms")
    with pytest.raises(MissingExtraError, match=r"nrpurify\[models\]"):
        __import__("nrpurify.transforms")
