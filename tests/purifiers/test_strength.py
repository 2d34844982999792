import math

import pytest
import torch
from torch import nn

from nrpurify import defenses
from nrpurify.core.checkpoint import write_carded
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.purifiers import Purifier, Strength, build_purifier, load_purifier, save_purifier
from nrpurify.purifiers.strength import REACH
from nrpurify.weights import weights_hash


class Shift(nn.Module):
    """Corrects each image by a fixed pattern."""

    multiple, radius = 1, 0

    def __init__(self, pattern):
        super().__init__()
        self.pattern = pattern

    def forward(self, images):
        return images + self.pattern


def shifting(pattern, *factors):
    return Purifier(Shift(pattern), build_purifier("micro").card, Strength(*factors))


def test_one_is_what_the_network_says(changed):
    images = torch.rand(2, 3, 16, 32)
    assert torch.equal(changed(images), changed.network(images).clamp(0, 1))


def test_a_flat_correction_is_coarse():
    images = torch.full((1, 3, 8, 9), 0.5)
    torch.testing.assert_close(shifting(0.03, 2.0, 0.5)(images), images + 0.06)


def test_strength_ends_at_its_reach_and_takes_nothing_back():
    images = torch.full((1, 3, 4, 4), 0.5)
    for own, found in ((0.05, REACH), (-0.05, -REACH), (REACH, REACH), (0.1, 0.1), (-0.1, -0.1)):
        torch.testing.assert_close(shifting(own, 3.0, 3.0)(images), images + found)


def test_the_coarse_part_is_the_mean_over_five_pixels_inside_the_image():
    torch.manual_seed(0)
    images, pattern = torch.full((1, 3, 7, 11), 0.5), torch.rand(1, 3, 7, 11) / 30
    smooth = torch.empty_like(pattern)
    for y in range(7):
        for x in range(11):
            window = pattern[..., max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            smooth[..., y, x] = window.mean((2, 3))
    expected = images + 1.5 * smooth + 0.75 * (pattern - smooth)
    torch.testing.assert_close(shifting(pattern, 1.5, 0.75)(images), expected)


def test_the_result_is_clamped_and_has_gradients(changed):
    strong = Purifier(changed.network, changed.card, Strength(4.0, 4.0))
    images = torch.rand(1, 3, 9, 10, requires_grad=True)
    purified = strong(images)
    assert purified.min() >= 0
    assert purified.max() <= 1
    purified.sum().backward()
    assert images.grad.abs().sum() > 0


def test_tiles_make_no_difference(changed):
    strong = Purifier(changed.network, changed.card, Strength(1.5, 1.2))
    strong.network.radius = 40
    images = torch.rand(1, 3, 150, 30)
    with torch.no_grad():
        torch.testing.assert_close(strong.purify(images, tile=32), strong(images))


def test_files_keep_it_and_the_hash_sees_it(tmp_path, changed, images):
    file = tmp_path / "p.safetensors"
    plain = save_purifier(changed, file)
    strong = Purifier(changed.network, changed.card, Strength(1.5, 1.25))
    card = save_purifier(strong, file, dtype=torch.float16)
    assert card.sha256 != plain.sha256
    loaded = load_purifier(file)
    assert loaded.strength.tolist() == [1.5, 1.25]
    torch.testing.assert_close(loaded(images), strong(images), atol=2e-3, rtol=0)
    assert weights_hash("x", changed) != weights_hash("x", strong)


def test_a_state_that_is_loaded_brings_its_strength(changed, images):
    strong = Purifier(changed.network, changed.card, Strength(1.5, 1.25))
    plain = Purifier(changed.network, changed.card, Strength(1, 1))
    for given, taken in ((strong, plain), (changed, strong)):
        expected = given(images)
        taken.load_state_dict(given.state_dict())
        assert torch.equal(taken(images), expected)


def test_users_decide(tmp_path, changed, images):
    file = tmp_path / "p.safetensors"
    save_purifier(Purifier(changed.network, changed.card, Strength(1.5, 1.25)), file)
    assert load_purifier(file, coarse=2).strength.tolist() == [2, 1.25]
    assert load_purifier(file, fine=1).strength.tolist() == [1.5, 1]
    as_trained = defenses.make(f"{file}:coarse=1,fine=1")
    torch.testing.assert_close(as_trained(images), changed(images))
    assert not as_trained.training
    assert defenses.make(f"{file}:fine=2").strength.tolist() == [1.5, 2]
    with pytest.raises(InputError, match=r"strength coarse is 5\.0; expected above 0 and up to 4"):
        defenses.make(f"{file}:coarse=5")


@pytest.mark.parametrize("factor", [0, -1, 4.5, math.nan, math.inf])
def test_the_range_is_checked(factor):
    with pytest.raises(InputError, match="expected above 0 and up to 4"):
        Strength(fine=factor)


def test_networks_that_enlarge_take_none():
    network = build_purifier("edsr")
    with pytest.raises(InputError, match="a network that enlarges images"):
        Purifier(network.network, network.card, Strength(2.0))


@pytest.mark.parametrize("factors", [[1.0], [0.0, 1.0], [[1.0, 1.0]]])
def test_files_with_another_kind_of_strength_are_refused(tmp_path, changed, factors):
    file = tmp_path / "p.safetensors"
    tensors = {**changed.network.state_dict(), "strength": torch.tensor(factors)}
    write_carded(file, tensors, changed.card, dtype=torch.float32)
    with pytest.raises(WeightsError, match="does not fit its own card: strength"):
        load_purifier(file)
