"""Boxes, masks and pixels behind defenses that change the size, in the frames of the images."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify import defenses
from nrpurify.core.errors import InputError
from nrpurify.defenses import protect
from nrpurify.models.detectors import as_detector, load_detector

SQUARE = torch.tensor([12.0, 20.0, 36.0, 40.0])


class Double(nn.Module):
    def forward(self, images):
        return F.interpolate(images, scale_factor=2, mode="nearest")


def picture(height=60, width=80):
    image = torch.full((3, height, width), 0.3)
    image[:, 20:40, 12:36] = 0.9
    return image


def bright(images):
    """Boxes, masks and two keypoints (the corners) of whatever is brighter than 0.6."""
    found = []
    for image in images:
        mask = image.mean(0) > 0.6
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        left, top = int(columns[0]), int(rows[0])
        right, bottom = int(columns[-1]) + 1, int(rows[-1]) + 1
        found.append(
            {
                "boxes": torch.tensor([[left, top, right, bottom]]).float(),
                "scores": torch.ones(1),
                "labels": torch.ones(1).long(),
                "masks": mask[None, None].float(),
                "keypoints": torch.tensor([[[left, top, 1.0], [right, bottom, 1.0]]]),
                "keypoints_scores": torch.ones(1, 2),
            }
        )
    return found


@pytest.mark.parametrize("defense", [Double(), "rp:passes=1", "rp:passes=1,low=200,high=331"])
@pytest.mark.parametrize("stacked", [False, True])
def test_detections_come_back_into_each_images_frame(defense, stacked):
    images = [picture(), picture() if stacked else picture(50, 70)]
    protected = protect(as_detector(bright), defense)
    found = protected(torch.stack(images) if stacked else images)
    for one, image in zip(found, images, strict=True):
        torch.testing.assert_close(one["boxes"], SQUARE[None], atol=0.5, rtol=0)
        assert one["masks"].shape == (1, 1, *image.shape[1:])
        wrong = (one["masks"][0, 0] > 0.5) != (image.mean(0) > 0.6)
        assert wrong.sum() <= 90  # a pixel along the edge
        corners = torch.cat([SQUARE.view(1, 2, 2), torch.ones(1, 2, 1)], -1)
        torch.testing.assert_close(one["keypoints"], corners, atol=0.5, rtol=0)
        assert one["scores"].tolist() == one["labels"].tolist() == [1]


def test_padding_is_followed_through_a_chain():
    chain = defenses.Chain(Double(), defenses.make("median+rp:passes=1,low=99,high=150"), Double())
    (found,) = protect(as_detector(bright), chain)([picture()])
    torch.testing.assert_close(found["boxes"], SQUARE[None], atol=1.0, rtol=0)


def test_padding_to_the_same_size_moves_too():
    image = picture(60, 60)
    (found,) = protect(as_detector(bright), "rp:passes=1,low=40,high=60")([image])
    torch.testing.assert_close(found["boxes"], SQUARE[None], atol=1.0, rtol=0)


def test_padding_is_followed_while_other_threads_draw():
    protected = protect(as_detector(bright), "rp:passes=1")
    others = [protected.defense.generator]

    def draw(*_):
        while others:
            torch.rand(1, generator=others.pop())

    protected.defense.register_forward_pre_hook(draw)
    (found,) = protected([picture()])
    torch.testing.assert_close(found["boxes"], SQUARE[None], atol=0.5, rtol=0)


def test_the_draws_are_those_without_frames(images):
    alone, seen = defenses.make("rp:passes=1"), []
    protect(lambda batch: seen.append(batch) or batch.mean((2, 3)), "rp:passes=1")(images)
    protected = protect(nn.Identity(), "rp:passes=1")
    assert torch.equal(seen[0], alone(images))
    first, second = protected(images), protected(images)
    assert first.shape == images.shape
    assert not torch.equal(first, second)


def test_this_packages_detector_keeps_its_frame():
    torch.manual_seed(0)
    detector = load_detector("coco_ssd", pretrained=False)
    images = [torch.rand(3, 60, 80), torch.rand(3, 90, 40)]
    larger = [Double()(image[None])[0] for image in images]
    pairs = zip(protect(detector, Double())(images), detector(larger), strict=True)
    for found, expected in pairs:
        assert len(found["boxes"])
        torch.testing.assert_close(found["boxes"], expected["boxes"] / 2)
        assert torch.equal(found["scores"], expected["scores"])


def test_torchvisions_masks_without_any_detection():
    def nothing(images):
        high, wide = images[0].shape[1:]
        empty = {"boxes": torch.zeros(0, 4), "masks": torch.zeros(0, 1, high, wide)}
        return [{**empty, "scores": torch.zeros(0), "labels": torch.zeros(0).long()}]

    (found,) = protect(as_detector(nothing), Double())([picture()])
    assert found["masks"].shape == (0, 1, 60, 80)
    assert found["boxes"].shape == (0, 4)


def test_values_of_pixels_come_back():
    images = torch.stack([picture(), picture().flip(-1)])
    logits = protect(nn.Identity(), Double())(images)
    torch.testing.assert_close(logits, images, atol=0.35, rtol=0)
    assert torch.equal(logits.argmax(1), images.argmax(1))
    classes = protect(lambda x: (x[:, 0] > 0.6).long(), Double())(images)
    assert torch.equal(classes, (images[:, 0] > 0.6).long())
    padded = protect(lambda x: {"out": x, "aux": 2 * x}, "rp:passes=1")(images)
    assert padded["out"].shape == padded["aux"].shape == images.shape
    assert ((padded["out"] - images).abs() > 0.1).double().mean() < 0.1
    half = protect(lambda x: x.half(), Double())(images)
    assert half.dtype == torch.float16


def test_pixels_keep_their_gradient():
    images = picture()[None].requires_grad_(True)
    protect(nn.Identity(), "rp:passes=1")(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_what_has_no_place_stays():
    images = torch.stack([picture(), picture()])
    assert protect(lambda x: x.mean((2, 3)), "rp:passes=1")(images).shape == (2, 3)
    coarse = protect(nn.AvgPool2d(8), Double())(images)
    assert coarse.shape == (2, 3, 15, 20)


@pytest.mark.parametrize(
    ("model", "defense", "said"),
    [
        (lambda x: torch.zeros(2, 100, 85), Double(), r"a tensor 2×100×85 for 120×160 pixels"),
        (lambda x: x.mean(), Double(), "a single number"),
        (lambda x: {"loss": x.mean()}, Double(), "a single number"),
        (lambda x: [{"polygons": x}] * 2, Double(), "a dict of polygons"),
        (lambda x: [{"boxes": torch.zeros(1, 4), "rbox": torch.zeros(1, 5)}] * 2, Double(), "rbox"),
        (lambda x: [x], Double(), "a list for"),
        (nn.AvgPool2d(8), "rp:passes=1", r"a tensor 2×3×41×41"),
        (nn.Identity(), nn.Sequential(defenses.make("rp")), "pads at random inside another"),
    ],
)
def test_what_cannot_be_brought_back_is_refused(model, defense, said):
    with pytest.raises(InputError, match=said):
        protect(model, defense)(torch.stack([picture(), picture()]))
