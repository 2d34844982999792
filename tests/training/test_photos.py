import pytest
import torch

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.images import write_png
from nrpurify.training.photos import (
    center_crops,
    random_crop,
    random_crops,
    read_resized,
    split_photos,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("holdout", "held"), [(0, 0), (0.01, 1), (0.34, 2), (0.99, 5)])
def test_split_is_disjoint_and_deterministic(photo_folder, holdout, held):
    train, out = split_photos(photo_folder, holdout)
    assert (len(train), len(out)) == (6 - held, held)
    assert not set(train) & set(out)
    assert split_photos(str(photo_folder), holdout) == (train, out)


def test_split_depends_on_names_alone(photo_folder, tmp_path):
    before = [path.name for path in split_photos(photo_folder, 0.5)[1]]
    photo_folder.rename(tmp_path / "elsewhere")
    assert [path.name for path in split_photos(tmp_path / "elsewhere", 0.5)[1]] == before


@pytest.mark.parametrize("holdout", [-0.1, 1, 2])
def test_share_is_checked(photo_folder, holdout):
    with pytest.raises(InputError, match=r"holdout is .*; expected a share in \[0, 1\)"):
        split_photos(photo_folder, holdout)


def test_one_photo_is_too_few(tmp_path):
    write_png(tmp_path / "a.png", torch.rand(3, 8, 8))
    with pytest.raises(InputError, match="holds 1 photo; expected at least 2"):
        split_photos(tmp_path, 0.1)


def test_crops_have_their_side_and_lie_on_the_byte_grid(photo_folder):
    photos, _ = split_photos(photo_folder, 0)
    crops = random_crops(photos, 5, 24, (24, 60), seeded())
    assert crops.shape == (5, 3, 24, 24)
    assert crops.min() >= 0
    assert crops.max() <= 1
    torch.testing.assert_close(crops * 255, (crops * 255).round(), atol=1e-4, rtol=0)
    assert torch.equal(crops, random_crops(photos, 5, 24, (24, 60), seeded()))
    assert not torch.equal(crops, random_crops(photos, 5, 24, (24, 60), seeded(1)))


def test_short_side_is_resized(tmp_path):
    write_png(tmp_path / "wide.png", torch.rand(3, 20, 50))
    assert read_resized(tmp_path / "wide.png", 40).shape == (3, 40, 100)
    # never below the crop, whatever the recipe says
    assert random_crop([tmp_path / "wide.png"], 30, (5, 6), seeded()).shape == (3, 30, 30)


def test_a_square_ignores_the_aspect(tmp_path):
    photo = torch.rand(3, 20, 50)
    write_png(tmp_path / "wide.png", photo)
    square = read_resized(tmp_path / "wide.png", 20, square=True)
    assert square.shape == (3, 20, 20)
    torch.testing.assert_close(square.mean(), photo.mean(), atol=0.02, rtol=0)
    crop = random_crop([tmp_path / "wide.png"], 20, (20, 20), seeded(), square=True)
    assert torch.equal(crop, square)


def test_broken_photos_are_passed_over(photo_folder):
    photos, _ = split_photos(photo_folder, 0)
    for path in photos[:3]:
        path.write_bytes(b"broken")
    crops = random_crops(photos, 8, 16, (20, 20), seeded())
    assert torch.equal(crops, random_crops(photos, 8, 16, (20, 20), seeded()))
    assert center_crops(photos, 16).shape == (3, 3, 16, 16)


def test_only_broken_photos_are_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"ten photos in a row cannot be read; .*a\.jpg"):
        random_crop([tmp_path / "a.jpg"], 8, (8, 8), seeded())
    with pytest.raises(ImageError, match="none of the 1 held-out photos can be read"):
        center_crops([tmp_path / "a.jpg"], 8)


def test_a_thin_strip_is_not_blown_up(tmp_path):
    """1×2000 pixels with a short side of 480 would be 480×960,000."""
    write_png(tmp_path / "strip.png", torch.rand(3, 1, 2000))
    with pytest.raises(ImageError, match=r"strip\.png' is 2000×1; expected sides within 1:16"):
        read_resized(tmp_path / "strip.png", 480)


def test_center_crop_is_the_center(tmp_path):
    photo = torch.zeros(3, 10, 30)
    photo[:, :, 10:20] = 1
    write_png(tmp_path / "a.png", photo)
    assert center_crops([tmp_path / "a.png"], 10).min() == 1


def test_photos_that_cannot_be_read_are_counted_and_named_once(photo_folder, caplog):
    photos, _ = split_photos(photo_folder, 0)
    for path in photos[:2]:
        path.write_bytes(b"no image")
    for _ in range(2):
        random_crops(photos, 20, 8, (8, 12), seeded())
        center_crops(photos, 8)
    lines = [line for line in caplog.messages if "not trained on" in line]
    assert len(lines) == 2
    assert all(any(str(path) in line for line in lines) for path in photos[:2])
