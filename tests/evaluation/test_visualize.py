import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.evaluation.segmentation import Segment
from nrpurify.evaluation.visualize import (
    color,
    counted,
    detection_picture,
    fitted,
    shares,
    with_boxes,
    with_classes,
    with_masks,
)
from nrpurify.models.segmenters import as_segmenter


@pytest.mark.parametrize("shade", [0.0, 0.5, 1.0])
def test_boxes_can_be_seen_on_any_background(shade):
    image = torch.full((3, 100, 120), shade)
    drawn = with_boxes(image, torch.tensor([[20.0, 30.0, 80.0, 90.0]]), ["cat 0.90"], [17])
    assert drawn.shape == image.shape
    ring, line = drawn[:, 60, 20], drawn[:, 60, 21]
    assert torch.equal(ring, torch.zeros(3))
    np.testing.assert_allclose(line * 255, color(17), atol=1e-3)
    assert torch.equal(drawn[:, 5, 5], torch.full((3,), round(255 * shade) / 255))
    assert torch.equal(image, torch.full((3, 100, 120), shade))


def test_tags_stay_in_the_picture():
    image = torch.zeros(3, 60, 90)
    boxes = torch.tensor([[85.0, 55.0, 90.0, 60.0], [4.0, 4.0, 4.0, 4.0]])
    drawn = with_boxes(image, boxes, ["traffic light 0.99", "x"], [10, 3])
    tag = torch.tensor(color(10)).view(3, 1, 1) / 255
    assert ((drawn - tag).abs().max(0).values < 1e-3).sum() > 300


def test_black_text_can_be_read_on_every_color():
    luminance = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in map(color, range(91))]
    assert min(luminance) > 115
    assert color(3) != color(4)


def test_masks_tint_their_pixels_only():
    image = torch.full((3, 4, 6), 0.2)
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[0, 1:3, 2:4] = True
    drawn = with_masks(image, mask, [5])
    assert torch.equal(drawn[:, 0], image[:, 0])
    expected = 0.1 + 0.5 * torch.tensor(color(5)) / 255
    torch.testing.assert_close(drawn[:, 1, 2], expected)


def test_classes_are_tinted_and_large_ones_named():
    image, classes = torch.full((3, 80, 120), 0.5), torch.zeros(80, 120, dtype=torch.int64)
    classes[:, 60:] = 1
    classes[0, 0] = 2
    drawn = with_classes(image, classes, ("sky", "road", "pole"))
    torch.testing.assert_close(
        drawn[:, 79, 1], 0.25 + 0.5 * torch.tensor(color(0)) / 255, atol=0.003, rtol=0
    )
    tags = [(drawn == (torch.tensor(color(k)) / 255).view(3, 1, 1)).all(0).sum() for k in range(3)]
    assert tags[0] > 100
    assert tags[1] > 100
    assert tags[2] == 0


def test_large_pictures_are_scaled_down():
    assert fitted(torch.rand(3, 100, 200), 50).shape == (3, 25, 50)
    small = torch.rand(3, 10, 20)
    assert fitted(small) is small


def one_box(images):
    masks = torch.zeros(2, 1, *images[0].shape[1:])
    masks[0, 0, 100:300, 100:300] = 1
    return [
        {
            "boxes": torch.tensor([[100.0, 100.0, 300.0, 300.0], [0.0, 0.0, 9.0, 9.0]]),
            "scores": torch.tensor([0.9, 0.3]),
            "labels": torch.tensor([17, 1]),
            "masks": masks,
        }
    ]


def test_a_detector_shows_what_it_is_sure_of():
    image = torch.zeros(3, 640, 1280)
    picture, caption = detection_picture(image, one_box([image])[0])
    assert picture.shape == (3, 320, 640)
    assert caption == "1 cat"
    inside = picture[:, 120, 120]
    torch.testing.assert_close(inside, 0.5 * torch.tensor(color(17)) / 255, atol=0.003, rtol=0)
    assert picture[:, 200:, 200:].max() == 0
    assert detection_picture(image, one_box([image])[0], sure=0.95)[1] == "nothing"


def test_a_segmenter_shows_its_classes():
    class Bright(nn.Module):
        def forward(self, images):
            return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5], 1)

    image = torch.zeros(3, 40, 60)
    image[..., 45:] = 1
    segmenter = as_segmenter(Bright(), ("dark", "bright"))
    picture, caption = Segment().render(segmenter, image, segmenter(image[None])[0])
    assert caption == "mostly dark 75%, bright 25%"
    assert picture.shape == image.shape


def test_words():
    assert counted([1, 17, 1, 999]) == "2 person, 1 cat, 1 999"
    assert counted([]) == "nothing"
    assert shares(torch.full((2, 2), -1), ("a",)) == "nothing"
