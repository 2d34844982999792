import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.purifiers import DESIGNS, Design, build_purifier
from nrpurify.purifiers.registry import design
from nrpurify.purifiers.rrdb import RRDB, DenseBlock

PARAMETERS = {
    "nrp": 16_550_275,
    "resg": 1_702_211,
    "unet": 7_760_163,
    "fast": 5_919_628,
    "fast-v2": 3_546_732,
    "tiny": 2_070_128,
    "micro": 558_912,
    "fast-rrdb": 2_933_104,
    "hgd": 7_760_163,
    "ape-gan": 1_449_219,
    "edsr": 195_971,
}
IDENTITY_STARTS = ("fast", "fast-v2", "tiny", "micro", "fast-rrdb")
TAILS = {
    "ape-gan": "up2",
    "denoising-unet": "last",
    "detail-unet": "tail",
    "edsr": "tail",
    "nrp": "conv_last",
    "resg": "conv_last",
    "unet": "last",
    "unshuffle-rrdb": "tail",
    "unshuffle-unet": "tail",
}


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_build_with_their_parameter_counts(name):
    with torch.device("meta"):
        network = design(name).build()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert network.multiple >= 1
    assert network.radius >= 1


def test_every_design_is_counted():
    assert set(PARAMETERS) == set(DESIGNS)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 50)])
def test_any_size_goes(small, size):
    images = torch.rand(2, 3, *size)
    purified = small(images)
    assert purified.shape == images.shape
    assert purified.min() >= 0
    assert purified.max() <= 1
    assert purified.std() > 0 or size == (1, 1)


@pytest.mark.parametrize("name", IDENTITY_STARTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_unshuffle_nets_start_as_the_identity(name, seed):
    torch.manual_seed(seed)
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        error = build_purifier(name).network(images) - images
    assert error.abs().max() < 0.1
    assert -10 * error.square().mean().log10() > 30


@pytest.mark.parametrize("seed", [0, 1])
def test_resg_and_nrp_do_not_start_as_the_identity(seed):
    """What the fast family's start is for: the paper's nets begin far from the image."""
    torch.manual_seed(seed)
    images = torch.rand(1, 3, 12, 12)
    assert (build_purifier("resg").network(images) - images).abs().mean() > 0.1


def test_no_skip_from_input_to_output(small):
    tail = getattr(small.network, TAILS[small.card.architecture])
    nn.init.zeros_(tail.weight)
    nn.init.constant_(tail.bias, 0.25)
    correction = getattr(small.network, "detail_tail", None)
    if correction is not None:
        nn.init.zeros_(correction.weight)
        nn.init.zeros_(correction.bias)
    purified = small(torch.rand(1, 3, 17, 24))
    torch.testing.assert_close(purified, torch.full_like(purified, 0.25), rtol=0, atol=0)


def reach(network: nn.Module, row: int, column: int, side: int) -> int:
    """How far from an output pixel the input pixels lie that its gradient touches."""
    images = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    output = network(images)[0, :, row, column].sum()
    (gradient,) = torch.autograd.grad(output, images)
    touched = (gradient.abs().sum(1)[0] > 0).nonzero()
    return int((touched - torch.tensor([row, column])).abs().max())


def test_radius_is_right(small):
    network = small.network.double()
    for weight in network.parameters():
        nn.init.uniform_(weight, 0.01, 0.02)  # positive: no ReLU hides a path
    side = 4 * network.radius // network.multiple * network.multiple
    middle = side // 2 // network.multiple * network.multiple
    corners = [(middle + a, middle + b) for a in (0, network.multiple - 1) for b in (0, 1)]
    found = max(reach(network, *corner, side) for corner in corners)
    assert found <= network.radius
    assert found > 0.6 * network.radius - 1  # a bound, but no idle one


def test_pixels_beyond_the_radius_change_nothing(small):
    network = small.network.double()
    radius, multiple = network.radius, network.multiple
    side = (2 * radius // multiple + 2) * multiple
    images = torch.rand(1, 3, side, side, dtype=torch.float64)
    changed = images.clone()
    changed[..., 0, 0] += 0.5
    apart = (network(changed) - network(images)).detach().abs().sum(1)[0]
    assert apart[:multiple, :multiple].max() > 0
    assert apart[radius + 1 :].max() == 0
    assert apart[:, radius + 1 :].max() == 0


def test_gradients_reach_input_and_all_weights(small):
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    small.network(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())


def test_residual_scaling_of_the_paper():
    block = RRDB(4, 2)
    for weight in block.parameters():
        nn.init.zeros_(weight)
    x = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(block(x), 1.2 * x)


def test_dense_block_feeds_every_convolution_with_all_before():
    block = DenseBlock(8, 4)
    assert [conv.in_channels for conv in block.children()] == [8, 12, 16, 20, 24]
    assert [conv.out_channels for conv in block.children()] == [4, 4, 4, 4, 8]


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 2))
@settings(deadline=None, max_examples=10)
def test_unshuffle_unet_takes_other_arguments(levels, blocks, extra):
    arguments = {
        "widths": [12 + extra] * levels, "blocks": [blocks] * levels, "factor": 2,
    }  # fmt: skip
    network = Design("unshuffle-unet", arguments).build()
    side = network.multiple
    images = torch.rand(1, 3, side, 2 * side)
    torch.testing.assert_close(network(images), images, atol=0.3, rtol=0)


def test_a_trained_trunk_can_be_given_a_second_stage():
    arguments = {"widths": [12, 14], "blocks": [1, 1], "factor": 2}
    trunk = Design("unshuffle-unet", arguments).build()
    nn.init.normal_(trunk.tail.weight, std=0.1)
    grown = Design("detail-unet", {**arguments, "detail": 6}).build()
    left_out = grown.load_state_dict(trunk.state_dict(), strict=False)
    assert not left_out.unexpected_keys
    assert all(name.startswith("detail") for name in left_out.missing_keys)
    images = torch.rand(1, 3, 24, 16)
    torch.testing.assert_close(grown(images), trunk(images))


@pytest.mark.parametrize("changed", [{"factor": 3, "widths": [27]}, {"factor": 4, "widths": [50]}])
def test_a_second_stage_needs_half_the_factor(changed):
    with pytest.raises(InputError, match=r"factor must be even, and widths\[0\] a multiple"):
        Design("detail-unet", {"blocks": [1], **changed}).build()


@pytest.mark.parametrize(
    "arguments",
    [{"width": 6, "color": 1}, {"width": "64"}, {"width": -3}, {"blocks": None}],
)
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(InputError, match=r"architecture 'resg' does not take"):
        Design("resg", arguments).build()


def test_unknown_names():
    with pytest.raises(InputError, match=r"no architecture 'x'; expected one of ape-gan, .*resg"):
        Design("x").build()
    with pytest.raises(InputError, match=r"no purifier design 'x'; expected one of nrp"):
        build_purifier("x")


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_edsr_starts_as_bicubic_and_doubles_any_size(size):
    purifier = build_purifier("edsr")
    images = torch.rand(2, 3, *size)
    expected = nn.functional.interpolate(images, scale_factor=2, mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(purifier(images), expected)
    assert purifier.scale == 2


def test_an_enlarged_image_is_the_same_from_tiles():
    torch.manual_seed(0)
    purifier = build_purifier("edsr")
    nn.init.normal_(purifier.network.tail.weight, std=0.02)
    images = torch.rand(1, 3, 90, 121)
    torch.testing.assert_close(purifier.purify(images, tile=32), purifier(images).detach())


def test_hgd_adds_to_the_image(images):
    purifier = build_purifier("hgd")
    torch.testing.assert_close(purifier(images), images)
    nn.init.constant_(purifier.network.last.bias, 0.1)
    torch.testing.assert_close(purifier(images), (images + 0.1).clamp(0, 1))


def test_ape_gan_stays_in_range():
    found = build_purifier("ape-gan")(5 * torch.rand(1, 3, 7, 10) - 2)
    assert found.shape == (1, 3, 7, 10)
    assert found.min() > 0
    assert found.max() < 1
