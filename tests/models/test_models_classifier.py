import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.models import Classifier, as_classifier
from nrpurify.weights import Preprocessing

RGB = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), size=8)
BGR = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), bgr=True, size=8)


def pixel_means(x):
    return x.mean(dim=(2, 3))


def make(preprocessing=RGB, num_classes=3):
    return as_classifier(pixel_means, num_classes, preprocessing=preprocessing)


def test_normalizes_channel_by_channel():
    images = torch.rand(2, 3, 8, 8)
    want = [(images[:, c].mean((1, 2)) - RGB.mean[c]) / RGB.std[c] for c in range(3)]
    torch.testing.assert_close(make()(images), torch.stack(want, 1))


def test_bgr_reverses_before_normalizing():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(make(BGR)(images), make(RGB)(images.flip(1)))


@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_size_is_resized_to_the_input_size(height, width):
    images = torch.rand(1, 3, height, width)
    resized = F.interpolate(images, (8, 8), mode="bilinear", antialias=True)
    seen = make(Preprocessing((0.0,) * 3, (1.0,) * 3, size=8)).preprocess(images)
    torch.testing.assert_close(seen, resized)


def test_right_size_is_left_alone():
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(as_classifier(pixel_means).preprocess(images), images)
    same = Preprocessing((0.0,) * 3, (1.0,) * 3, size=8)
    assert torch.equal(make(same).preprocess(images), images)


@pytest.mark.parametrize("side", [8, 13])
def test_gradient_reaches_every_pixel(side):
    images = torch.rand(1, 3, side, side, requires_grad=True)
    make(BGR)(images).sum().backward()
    assert (images.grad > 0).all()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3)])
def test_wrong_image_shape_is_named(shape):
    with pytest.raises(InputError, match=r"pixel_means has shape .*expected N×3×H×W") as caught:
        make()(torch.rand(shape))
    assert str(shape) in str(caught.value)


def test_wrong_logit_shape_is_named():
    with pytest.raises(InputError, match=r"returned shape \(2, 3\).*\(2, 3, 8, 8\).*\(2, 1000\)"):
        make(num_classes=1000)(torch.rand(2, 3, 8, 8))
    with pytest.raises(InputError, match=r"expected logits \(1, C\)"):
        as_classifier(lambda x: x)(torch.rand(1, 3, 8, 8))


def test_half_precision_and_moves():
    classifier = make().to(torch.float64)
    assert classifier(torch.rand(1, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64
    assert classifier.state_dict() == {}


def test_own_module_is_frozen_unless_asked_otherwise():
    def network():
        return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 5))

    frozen = as_classifier(network(), num_classes=5, name="mine")
    assert frozen.name == "mine"
    assert not any(module.training for module in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    free = as_classifier(network(), frozen=False)
    assert free.name == "Sequential"
    assert all(module.training for module in free.modules())
    assert all(p.requires_grad for p in free.parameters())
    assert as_classifier(frozen) is frozen
    assert isinstance(free, Classifier)


def test_not_callable():
    with pytest.raises(InputError, match="model is a str"):
        as_classifier("resnet50")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_resized_too(dtype):
    images = torch.rand(2, 3, 11, 13).to(dtype)
    found = make().to(dtype).preprocess(images)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), make().preprocess(images.float()), atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_own_network_gets_images_in_its_precision(dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    logits = as_classifier(network, mean=0.5, std=0.25)(images)
    assert logits.dtype == dtype
    logits.float().sum().backward()
    assert images.grad.dtype == torch.float32
    assert images.grad.any()
    network.register_parameter("packed", nn.Parameter(torch.ones(1, dtype=torch.uint8), False))
    assert next(network.parameters()).dtype == torch.uint8
    assert as_classifier(network)(images).dtype == dtype
    # and a network in fp32 those that are given in half precision
    assert as_classifier(network.float())(images.detach().to(dtype)).dtype == torch.float32


def test_a_network_that_is_not_frozen_keeps_the_mode_of_its_parts():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval())
    classifier = as_classifier(network, frozen=False)
    assert [part.training for part in (classifier, network, network[1])] == [True, True, False]
    network.eval()
    assert not as_classifier(network, frozen=False).training


def test_own_model_behind_its_normalization():
    images = torch.rand(2, 3, 4, 4)
    expected = ((images - 0.5) / 0.25).mean((2, 3))
    for options in (
        {"mean": 0.5, "std": 0.25},
        {"preprocessing": {"mean": (0.5,) * 3, "std": (0.25,) * 3}},
        {"preprocessing": Preprocessing((0.5,) * 3, (0.25,) * 3)},
    ):
        classifier = as_classifier(lambda x: x.mean((2, 3)), **options)
        torch.testing.assert_close(classifier(images), expected)
    with pytest.raises(InputError, match="is a Classifier, which normalizes its images itself"):
        as_classifier(classifier, mean=0.5, std=0.25)


def test_own_model_refuses_images_out_of_range():
    images = torch.rand(2, 3, 4, 4) * 255
    with pytest.raises(InputError, match="divide uint8 values by 255"):
        as_classifier(lambda x: x.mean((2, 3)))(images)
    assert as_classifier(lambda x: x.mean((2, 3)), check=False)(images).shape == (2, 3)
