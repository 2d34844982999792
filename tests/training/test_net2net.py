import pytest
import torch

from nrpurify.purifiers.registry import Design, design
from nrpurify.training.net2net import can_expand, expand

SMALL = {"widths": [48, 52, 56], "blocks": [1, 1, 1]}
LARGE = {"widths": [56, 60, 64], "blocks": [1, 2, 3]}


def built(chosen, std=0.0):
    torch.manual_seed(0)
    network = chosen.build()
    for value in network.parameters():
        value.data.add_(std * torch.randn_like(value))
    return network


@pytest.mark.parametrize(
    ("architecture", "more", "most"),
    [
        ("unshuffle-unet", {}, {}),
        ("detail-unet", {"detail": 8, "detail_blocks": 1}, {"detail": 12, "detail_blocks": 2}),
    ],
)
def test_what_has_grown_says_the_same_and_can_say_more(architecture, more, most):
    small, large = Design(architecture, SMALL | more), Design(architecture, LARGE | most)
    assert can_expand(small, large)
    before, after = built(small, 0.03), built(large)
    images = torch.rand(2, 3, 32, 48)
    assert (before(images) - after(images)).abs().max() > 0.01
    expand(before, after)
    torch.testing.assert_close(after(images), before(images))
    after(images).square().sum().backward()
    channels = SMALL["widths"][0]
    assert after.tail.weight.grad[:, channels:].abs().max() > 0


def test_the_same_design_keeps_its_weights():
    chosen = Design("unshuffle-unet", SMALL)
    before, after = built(chosen, 0.03), built(chosen)
    expand(before, after)
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (Design("unshuffle-unet", LARGE), Design("unshuffle-unet", SMALL)),
        (Design("unshuffle-unet", SMALL), Design("detail-unet", LARGE)),
        (design("unet"), Design("unshuffle-unet", LARGE)),
        (Design("unshuffle-unet", SMALL | {"factor": 2}), Design("unshuffle-unet", LARGE)),
        (
            Design("unshuffle-unet", {"widths": [48, 52], "blocks": [1, 1]}),
            Design("unshuffle-unet", {"widths": [56, 60, 64], "blocks": [1, 1, 1]}),
        ),
        (Design("unshuffle-unet", SMALL | {"blocks": [1, 2, 1]}), Design("unshuffle-unet", SMALL)),
        (Design("unshuffle-rrdb", {"blocks": 1}), Design("unshuffle-rrdb", {"blocks": 2})),
    ],
)
def test_others_cannot_grow(smaller, larger):
    assert not can_expand(smaller, larger)
