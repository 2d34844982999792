import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nrpurify.models.mobilenet_v1 import ConvBN, MobileNetV1
from nrpurify.models.squeezenet import SqueezeNet


def test_squeezenet_equals_torchvision_where_their_pooling_agrees():
    """At 31 px every pooled side is odd, so that rounding down and up are the same."""
    oracle = pytest.importorskip("torchvision.models").squeezenet1_1(weights=None).eval()
    ours = SqueezeNet()
    ours.load_state_dict(
        dict(zip(ours.state_dict(), oracle.state_dict().values(), strict=True)), strict=True
    )
    images = torch.randn(2, 3, 31, 31)
    with torch.no_grad():
        want = oracle(images)
        assert want.std() > 0
        # torchvision ends in a ReLU, the Caffe form does not
        torch.testing.assert_close(ours(images).relu(), want, atol=1e-4, rtol=1e-4)


def test_squeezenet_pads_right_and_bottom():
    network = SqueezeNet()
    images = torch.randn(1, 3, 32, 32)
    padded = nn.functional.pad(images, (0, 1, 0, 1))
    torch.testing.assert_close(network(images), network(padded))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 3]), st.sampled_from([1, 2]))
def test_same_padding_is_that_of_tensorflow(height, width, kernel, stride):
    layers = pytest.importorskip("timm.layers")
    block = ConvBN(3, 4, kernel, stride, groups=1).eval()
    images = torch.randn(1, 3, height, width)
    padded = layers.pad_same(images, (kernel, kernel), (stride, stride))
    torch.testing.assert_close(block._pad(images), padded)
    assert block(images).shape == (1, 4, -(-height // stride), -(-width // stride))


def test_mobilenet_has_the_published_size():
    network = MobileNetV1()
    assert sum(p.numel() for p in network.parameters()) == 470_072
    assert network.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
