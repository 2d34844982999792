import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.defenses import make
from nrpurify.tasks.draws import Draws, check_one_pass, scores


class Sharp(nn.Module):
    """Two classes of each pixel, by its red; sharp, so that noise changes its mind."""

    def forward(self, images):
        red = torch.tanh(40 * (images[:, :1] - 0.5))
        return torch.cat([-red, red], 1)


@pytest.fixture
def grey():
    return torch.full((1, 3, 4, 6), 0.5)


@pytest.mark.parametrize("spec", ["noise:seed=5", "noise+jpeg+noise", "nips-r3+noise"])
def test_a_defense_draws_the_same_again(spec, grey):
    defense = make(spec)
    draws = Draws(defense)
    first, second = defense(grey), defense(grey)
    draws.again()
    assert torch.equal(defense(grey), first)
    assert torch.equal(defense(grey), second)
    assert not torch.equal(first, second)


def test_what_is_not_random_is_left_alone(grey):
    for defense in (nn.Identity(), lambda images: images):
        Draws(defense).again()
        check_one_pass("x", defense, "detect")
        assert torch.equal(scores(Sharp(), defense, grey), Sharp()(grey))


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_passes_are_averaged_or_vote(combine, grey):
    spec = f"noise:std=0.3,passes=9,seed=1,combine={combine}"
    noise = make(spec)
    each = torch.cat([Sharp()(noise(grey)) for _ in range(9)])
    light = each.argmax(1).double().mean(0)
    expected = each.mean(0) if combine == "mean" else torch.stack([1 - light, light]).float()
    torch.testing.assert_close(scores(Sharp(), make(spec), grey)[0], expected)
    assert 0 < float(light.mean()) < 1


def test_detections_have_no_mean():
    said = r"noise:passes=3 asks for 3 passes; .* detect takes defenses with passes=1"
    with pytest.raises(InputError, match=said):
        check_one_pass("noise:passes=3", make("noise:passes=3"), "detect")
