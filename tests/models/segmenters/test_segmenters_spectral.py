import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.models.segmenters.spectral import TILE, LargeConv2d, _transforms, spectral_conv2d


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 47), st.integers(1, 47)),
    kernel=st.sampled_from((1, 3, 7)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    count=st.integers(1, 2),
)
def test_it_is_the_direct_convolution(size, kernel, channels, count):
    generator = torch.Generator().manual_seed(sum(size) + kernel)
    images = torch.randn(count, channels[0], *size, generator=generator)
    weight = torch.randn(channels[1], channels[0], kernel, kernel, generator=generator)
    direct = F.conv2d(images, weight, padding=kernel // 2)
    torch.testing.assert_close(spectral_conv2d(images, weight), direct, atol=2e-4, rtol=1e-4)


def test_gradients_are_those_of_the_direct_convolution():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 9, TILE + 3, 30, generator=generator, requires_grad=True)
    layer = LargeConv2d(9, 4, 7)
    given_back = torch.randn(2, 4, TILE + 3, 30, generator=generator)
    direct = F.conv2d(images, layer.weight, padding=3)
    for mine, theirs in zip(
        torch.autograd.grad(layer(images), (images, layer.weight), given_back),
        torch.autograd.grad(direct, (images, layer.weight), given_back),
        strict=True,
    ):
        assert float((mine - theirs).abs().max() / theirs.std()) < 1e-4


@pytest.mark.parametrize(("channels", "dtype"), [(3, torch.float32), (9, torch.float64)])
def test_few_channels_and_other_types_are_convolved_directly(channels, dtype):
    layer = LargeConv2d(channels, 2, 7).to(dtype)
    images = torch.rand(1, channels, 12, 9, dtype=dtype)
    assert torch.equal(layer(images), F.conv2d(images, layer.weight, padding=3))


def test_its_state_is_that_of_a_convolution():
    assert {n: v.shape for n, v in LargeConv2d(9, 4, 7).state_dict().items()} == {
        "weight": (4, 9, 7, 7)
    }


def test_gradients_after_a_first_call_without_any():
    _transforms.cache_clear()
    layer, images = LargeConv2d(9, 2, 7), torch.rand(1, 9, 8, 8)
    with torch.inference_mode():
        layer(images)
    images.requires_grad_(True)
    layer(images).sum().backward()
    assert images.grad.abs().sum() > 0
