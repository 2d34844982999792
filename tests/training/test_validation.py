import pytest
import torch
from torch import nn

from nrpurify import models
from nrpurify.training.photos import split_photos
from nrpurify.training.validation import Validator, psnr

CPU = torch.device("cpu")


class Black(nn.Module):
    def forward(self, images):
        return torch.zeros_like(images)


@pytest.fixture
def validator(micro, photo_folder, tmp_path):
    def make(**changes):
        plan = {"every": 1, "photos": 2, "side": 40, "steps": 3, **changes}
        photos, _ = split_photos(photo_folder, 0)
        recipe = micro.recipe(validation=plan)
        return Validator(recipe, photos, tmp_path / "v.safetensors", CPU)

    return make


def test_psnr_by_hand():
    a = torch.zeros(2, 3, 4, 4)
    b = a.clone()
    b[0] = 0.1
    assert psnr(a, b).tolist() == pytest.approx([20.0, 100.0])


def test_doing_nothing_leaves_the_attacked_image(validator):
    metrics = validator()(nn.Identity())
    assert metrics["feature_purified"] == metrics["feature_attacked"] > 0
    assert metrics["psnr_purified"] == metrics["psnr_attacked"]
    assert 20 < metrics["psnr_attacked"] < 35  # 16/255 on every pixel is 24 dB
    assert metrics["psnr_purified_clean"] == pytest.approx(100)
    assert metrics["feature_purified_clean"] == 0
    views = ("attacked", "purified", "purified_clean")
    assert set(metrics) == {f"{kind}_{view}" for kind in ("feature", "psnr") for view in views}


def test_images_are_attacked_within_eps_and_kept(validator, monkeypatch):
    first = validator()
    assert first.clean.shape == first.attacked.shape == (2, 3, 40, 40)
    assert (first.attacked - first.clean).abs().max() <= 16 / 255 + 1e-6
    monkeypatch.setattr(Validator, "_attack", lambda self: pytest.fail("attacked again"))
    again = validator()
    assert torch.equal(again.attacked, first.attacked)


def test_a_photo_is_attacked_the_same_whatever_stands_beside_it(validator):
    both = validator()
    both.file.unlink()
    assert torch.equal(validator(photos=1).attacked, both.attacked[:1])


def test_attacked_images_are_the_same_in_every_run(validator):
    first = validator()
    first.file.unlink()
    assert torch.equal(validator().attacked, first.attacked)


def test_agreement_of_a_victim_with_itself(validator, monkeypatch):
    class Bright(nn.Module):
        def forward(self, images):
            mean = images.mean((1, 2, 3))
            return torch.stack([mean, torch.full_like(mean, 0.05)], 1)

    monkeypatch.setattr(models, "load_classifier", lambda name: Bright())
    check = validator(victim="bright")
    assert check(nn.Identity())["agree_purified_clean"] == 1
    black = check(Black())
    assert black["agree_purified"] == 0
    assert black["agree_attacked"] == 1


def test_outputs_out_of_range_are_clamped(validator):
    class Loud(nn.Module):
        def forward(self, images):
            return images * 100 - 50

    metrics = validator()(Loud())
    assert metrics["psnr_purified"] > 0
