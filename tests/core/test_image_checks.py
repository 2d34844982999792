import pytest
import torch

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_images


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_check_images_accepts_images(dtype):
    check_images(torch.rand(2, 3, 4, 5, dtype=dtype))
    check_images(torch.tensor([-9e-7, 0.0, 1 + 9e-7]).view(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 4, 4), r"x has shape \(3, 4, 4\).*\[None\]"),
        (torch.zeros(2, 1, 4, 4), r"\(2, 1, 4, 4\); expected N×3×H×W"),
        (torch.zeros(0, 3, 4, 4), "at least one image"),
        (torch.zeros(2, 3, 4, 0), r"\(2, 3, 4, 0\); expected N×3×H×W with sides of at least 1"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"torch\.uint8.*divide uint8 by 255"),
        (torch.full((1, 3, 2, 2), 255.0), r"from 255 to 255.*divide uint8 values by 255"),
        (torch.full((1, 3, 2, 2), -1.5), r"from -1\.5 to -1\.5.*normalization"),
        (torch.full((1, 3, 2, 2), 1.1), r"1\.1.*clamp"),
        (torch.full((1, 3, 2, 2), torch.nan), "from nan to nan.*remove NaN"),
        (torch.full((1, 3, 2, 2), torch.inf), "remove NaN and infinite"),
    ],
)
def test_check_images_says_what_is_wrong(images, message):
    with pytest.raises(InputError, match=message):
        check_images(images, "x")


def test_one_bad_value_is_enough():
    images = torch.rand(2, 3, 4, 4)
    images[1, 2, 3, 0] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        check_images(images)


@pytest.mark.parametrize("images", [[torch.zeros(3, 8, 8)], None, "x"])
def test_what_is_no_tensor_is_refused(images):
    with pytest.raises(InputError, match=r"images is a .*; expected a tensor N×3×H×W"):
        check_images(images)
