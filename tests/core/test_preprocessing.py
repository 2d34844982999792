"""Mean, std and channel order, read from what users have."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Normalize, find_preprocessing, read_preprocessing
from nrpurify.weights import Preprocessing

T = pytest.importorskip("torchvision.transforms")
v2 = pytest.importorskip("torchvision.transforms.v2")
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def to_float(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def processor(image, order=(0, 1, 2)):
    """As those of transformers: a batch of arrays under a name."""
    pixels = T.Normalize(MEAN, STD)(to_float(image)[list(order)])
    return {"pixel_values": [pixels[:, 80:-80, 80:-80].numpy()]}


@pytest.mark.parametrize(
    "given",
    [
        T.Compose([T.Resize(16), T.CenterCrop(12), T.ToTensor(), T.Normalize(MEAN, STD)]),
        v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
        T.Normalize(MEAN, STD),
        processor,
        types.SimpleNamespace(image_processor=processor),
        {"input_size": (3, 8, 8), "mean": MEAN, "std": STD},
        {"image_mean": list(MEAN), "image_std": list(STD), "rescale_factor": 1 / 255},
        types.SimpleNamespace(mean=torch.tensor(MEAN), std=torch.tensor(STD)),
        Preprocessing(MEAN, STD, size=8),
    ],
    ids=lambda given: type(given).__name__,
)
def test_mean_and_std_are_found(given):
    found = read_preprocessing(given)
    assert found.mean == pytest.approx(MEAN, abs=1e-5)
    assert found.std == pytest.approx(STD, abs=1e-5)
    assert (found.bgr, found.size) == (False, None)


def test_weights_of_torchvision():
    from torchvision.models import AlexNet_Weights

    found = read_preprocessing(AlexNet_Weights.IMAGENET1K_V1)
    assert found.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-5)
    assert found.std == pytest.approx((0.229, 0.224, 0.225), abs=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        lambda image: processor(image, (2, 1, 0)),
        T.Compose(
            [T.PILToTensor(), lambda x: x.float()[[2, 1, 0]], T.Normalize((25.5,), (102.0,))]
        ),
        {"image_mean": MEAN, "image_std": STD, "do_flip_channel_order": True},
    ],
    ids=["processor", "bytes", "config"],
)
def test_the_channels_order_is_found(given):
    found = read_preprocessing(given)
    assert found.bgr
    assert found.mean[0] == pytest.approx(0.1, abs=1e-5)
    assert found.std[0] == pytest.approx(0.4, abs=1e-5)
    images = torch.rand(2, 3, 5, 4)
    layer = Normalize(found.mean, found.std, bgr=True)
    torch.testing.assert_close(layer.undo(layer(images)), images)
    torch.testing.assert_close(layer(images)[:, 0], (images[:, 2] - 0.1) / 0.4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda image: to_float(image) ** 2, "more to the values"),
        (lambda image: to_float(image).mean(0, keepdim=True).expand(3, -1, -1), "more to the val"),
        (lambda image: to_float(image) + torch.rand(1), "or is random"),
        (lambda image: 1 / 0, "cannot be tried .ZeroDivisionError"),
        (lambda image: "text", "cannot be tried"),
        ({"size": 224}, "the config has only size"),
        (
            {"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 127.5},
            "divide pixels by 255",
        ),
        ({"image_mean": MEAN, "image_std": STD, "do_rescale": False}, "divide pixels by 255"),
        ({"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}, "divide both by 255"),
        (3, r"read from a int; give mean= and std="),
    ],
)
def test_other_transforms_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        read_preprocessing(given)


@pytest.mark.parametrize(
    ("mean", "std", "preprocessing", "said"),
    [
        (MEAN, None, None, "mean was given alone"),
        (None, STD, None, "std was given alone"),
        (MEAN, STD, {"mean": MEAN, "std": STD}, "one or the other"),
        (MEAN, (1, 0, 1), None, "numbers above 0"),
        (MEAN[:2], STD, None, r"mean is \(0.1, 0.2\); expected 3 finite numbers"),
        (MEAN, (1, 1, float("nan")), None, "std is .*expected 3 finite"),
        ("abc", STD, None, "mean is 'abc'; expected 3 numbers"),
    ],
)
def test_means_and_stds_that_cannot_be(mean, std, preprocessing, said):
    with pytest.raises(InputError, match=said):
        find_preprocessing(mean, std, preprocessing)


def test_one_number_is_for_all_channels():
    assert find_preprocessing(0.5, torch.tensor([0.25]), None) == Preprocessing(
        (0.5,) * 3, (0.25,) * 3
    )
    assert find_preprocessing(None, None, None) is None


def test_a_module_is_a_transform():
    found = read_preprocessing(nn.Sequential(T.Resize(8), T.Normalize(MEAN, STD)))
    assert found.mean == pytest.approx(MEAN, abs=1e-5)


def test_a_config_that_does_not_normalize_leaves_mean_and_std_out():
    found = read_preprocessing({"do_normalize": False, "image_mean": MEAN, "image_std": STD})
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
