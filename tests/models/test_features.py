import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from nrpurify import attacks, load_classifier
from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Normalize
from nrpurify.models import bodies, features
from nrpurify.models.features import FeatureExtractor, feature_extractor


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 1


class Wrapped(nn.Module):
    """The same computation as its chain, but not a chain itself."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.body(x)


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_chain_stops_at_the_layer(images):
    chain = nn.Sequential(*(Counter() for _ in range(4)))
    (found,) = FeatureExtractor(chain, "1")(images)
    torch.testing.assert_close(found, images + 2)
    assert [module.calls for module in chain] == [1, 1, 0, 0]


def test_hooked_network_stops_at_the_layer(images):
    chain = nn.Sequential(*(Counter() for _ in range(4)))
    found = FeatureExtractor(Wrapped(chain), ("body.2", "body.0"))(images)
    torch.testing.assert_close(found, (images + 3, images + 1))
    assert [module.calls for module in chain] == [1, 1, 1, 0]


@pytest.mark.parametrize("layers", ["conv2", ("relu2", "conv1"), ("conv1", "conv1")])
def test_chain_and_hooks_agree(body, images, layers):
    names = (layers,) if isinstance(layers, str) else layers
    chained = FeatureExtractor(body, layers)(images)
    hooked = FeatureExtractor(Wrapped(body), [f"body.{name}" for name in names])(images)
    assert len(chained) == len(names)
    torch.testing.assert_close(chained, hooked, rtol=0, atol=0)


@pytest.mark.parametrize("layers", [("last",), ("relu", "last"), ("pool", "last")])
def test_pooling_before_a_relu_changes_no_bit(images, layers):
    parts = (nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))
    body = nn.Sequential(OrderedDict(zip(("conv", "relu", "pool", "last"), parts, strict=True)))
    found = []
    for network, prefix in ((body, ""), (Wrapped(body), "body.")):
        point = images.clone().requires_grad_(True)
        kept = FeatureExtractor(network, [prefix + name for name in layers])(point)
        (gradient,) = torch.autograd.grad(sum(one.square().sum() for one in kept), point)
        found.append((*kept, gradient))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("wrap", [lambda chain: chain, Wrapped])
def test_in_place_modules_leave_kept_features_alone(images, wrap):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    network = wrap(nn.Sequential(conv, nn.ReLU(inplace=True)))
    prefix = "body." if isinstance(network, Wrapped) else ""
    before, after = FeatureExtractor(network, (f"{prefix}0", f"{prefix}1"))(images)
    assert before.min() < 0
    torch.testing.assert_close(before, conv(images))
    torch.testing.assert_close(after, before.relu())


def test_a_module_used_twice_in_a_chain_counts_twice(images):
    again = Counter()
    (found,) = FeatureExtractor(nn.Sequential(again, again, again), "2")(images)
    torch.testing.assert_close(found, images + 3)


def test_a_sequential_with_its_own_forward_is_hooked(images):
    class Backwards(nn.Sequential):
        def forward(self, x):
            for module in reversed(list(self)):
                x = module(x)
            return x

    (found,) = FeatureExtractor(Backwards(nn.ReLU(), Counter(), Counter()), "0")(images)
    torch.testing.assert_close(found, images + 2)


def test_copies_and_replicas_use_their_own_network(extractor, images):
    for twin in (copy.deepcopy(extractor), extractor._replicate_for_data_parallel()):
        twin.network = nn.Sequential()
        twin.network.add_module("conv2", Counter())
        torch.testing.assert_close(twin(images)[0], images + 1)


def test_train_has_no_effect(images):
    chain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    extractor = FeatureExtractor(chain, "2")
    before = extractor(images)
    parent = nn.ModuleList([extractor]).train()
    torch.testing.assert_close(parent[0](images), before, rtol=0, atol=0)
    assert not any(module.training for module in extractor.modules())
    assert extractor.train() is extractor


def test_weights_are_frozen_and_images_are_not(extractor, images):
    assert not any(p.requires_grad for p in extractor.parameters())
    images.requires_grad_(True)
    extractor(images)[0].sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in extractor.parameters())


@pytest.mark.parametrize("fails", [True, False])
def test_hooks_are_removed(body, images, fails):
    network = Wrapped(body)
    extractor = FeatureExtractor(network, ("body.conv1", "body.relu2"))
    if fails:
        with pytest.raises(RuntimeError):
            extractor(images[:, :2])
    else:
        extractor(images)
    assert hooks(network) == 0
    torch.testing.assert_close(network(images), body(images))


def test_layer_that_is_never_called_is_named(body, images):
    extractor = FeatureExtractor(Wrapped(body), ("body.conv1", "unused"))
    with pytest.raises(InputError, match=r"layer 'unused' has no part in the network's forward"):
        extractor(images)


def test_missing_layers_are_errors_with_near_matches(body):
    with pytest.raises(InputError, match=r"no layer 'conv3'.*did you mean .*conv2"):
        FeatureExtractor(body, "conv3")
    with pytest.raises(InputError, match="no layer given; expected one of conv1, relu1"):
        FeatureExtractor(body, ())
    with pytest.raises(InputError, match=r"no layer 'zzzzzz'.*expected one of conv1, relu1"):
        FeatureExtractor(body, "zzzzzz")


def test_normalize_by_hand():
    pixel = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)
    rgb = Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0))(pixel)
    torch.testing.assert_close(rgb.flatten(), torch.tensor([0.2, 0.2, 0.25]))
    bgr = Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0), bgr=True)(pixel)
    torch.testing.assert_close(bgr.flatten(), torch.tensor([1.4, 0.2, -0.05]))
    assert Normalize((0.1,), (0.5,))(pixel.double()).dtype == torch.float64


def test_normalization_comes_first(body, images):
    normalize = Normalize((0.5,) * 3, (0.25,) * 3)
    (found,) = FeatureExtractor(body, "conv1", normalize)(images)
    torch.testing.assert_close(found, body.conv1((images - 0.5) / 0.25))


def test_vgg16_layers_have_their_usual_names():
    names = [name for name, _ in bodies.vgg16_body().named_children()]
    counts = (2, 2, 3, 3, 3)
    expected = []
    for block, count in enumerate(counts, 1):
        for index in range(1, count + 1):
            expected += [f"conv{block}_{index}", f"relu{block}_{index}"]
        expected.append(f"pool{block}")
    assert names == expected
    assert names.index("conv3_3") == 14  # torchvision's features[:15] ends there
    assert sum(p.numel() for p in bodies.vgg16_body().parameters()) == 14_714_688


@pytest.mark.parametrize(
    ("name", "shape"),
    [("vgg16", (1, 256, 8, 8)), ("hed_vgg16", (1, 256, 8, 8)), ("alexnet", (1, 384, 1, 1))],
)
def test_default_layers_without_weights(name, shape):
    extractor = feature_extractor(name, pretrained=False)
    assert extractor(torch.rand(1, 3, 32, 32))[0].shape == shape
    assert extractor.normalize.bgr == (name == "hed_vgg16")


def test_hed_network_sees_bgr_in_byte_units():
    normalize = feature_extractor("hed_vgg16", pretrained=False).normalize
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    expected = torch.tensor([-104.007, -116.669, 255 - 122.679])
    torch.testing.assert_close(normalize(red).flatten(), expected, rtol=1e-5, atol=1e-3)


def test_pretrained_weights_are_loaded_by_name(monkeypatch):
    state = bodies.alexnet_body().state_dict()
    monkeypatch.setattr(features.weights, "load", lambda name: {"alexnet": state}[name])
    extractor = feature_extractor("alexnet", ["relu1", "pool2"])
    assert extractor.layers == ("relu1", "pool2")
    torch.testing.assert_close(extractor.network.state_dict()["conv1.bias"], state["conv1.bias"])


def test_classifiers_are_extractors_too():
    extractor = feature_extractor(
        "torchvision:squeezenet1_1", "network.features.0", pretrained=False
    )
    assert extractor(torch.rand(1, 3, 32, 32))[0].shape[:2] == (1, 64)
    with pytest.raises(InputError, match=r"for 'mobilenet_v1_025' \(--layer.* one of net"):
        feature_extractor("mobilenet_v1_025", pretrained=False)
    with pytest.raises(InputError, match="vgg61"):
        feature_extractor("vgg61", "conv1")


def test_an_unknown_network_is_told_what_there_is():
    for layers in (None, "conv1"):
        with pytest.raises(InputError, match=r"no network 'vgg19'; expected one of vgg16, .*NAME"):
            feature_extractor("vgg19", layers)


@pytest.mark.parametrize("model", [nn.Conv2d(3, 2, 1), "vgg16", lambda x: {"logits": x}])
def test_attacks_on_features_say_what_they_need(images, model):
    with pytest.raises(InputError, match=r"works on features.*FeatureExtractor\(model"):
        attacks.ssp(model, images)
    if isinstance(model, nn.Module):
        with pytest.raises(InputError, match=r"works on features"):
            attacks.fff_perturbation(model, (8, 8))


def test_squeezenet_takes_images_as_they_are():
    extractor = feature_extractor("squeezenet1_1", ["fire3", "fire9"], pretrained=False)
    shapes = [tuple(f.shape[1:]) for f in extractor(torch.rand(1, 3, 64, 96))]
    assert shapes == [(128, 15, 23), (512, 3, 5)]
    assert feature_extractor("squeezenet1_1", pretrained=False).layers == ("fire5",)


def test_a_detectors_backbone_takes_images_as_they_are():
    extractor = feature_extractor("centernet", ["blocks.4", "last"], pretrained=False)
    shapes = [tuple(f.shape[1:]) for f in extractor(torch.rand(1, 3, 64, 96))]
    assert shapes == [(32, 8, 12), (480, 2, 3)]
    gray = extractor.normalize(torch.full((1, 3, 2, 2), 0.5))
    torch.testing.assert_close(gray, torch.full((1, 3, 2, 2), 127.5))


def test_mobilenet_v2_takes_images_as_they_are():
    layers = ["stem", "blocks.0", "blocks.12", "last"]
    extractor = feature_extractor("mobilenet_v2_140", layers, pretrained=False)
    shapes = [tuple(f.shape[1:]) for f in extractor(torch.rand(1, 3, 64, 96))]
    assert shapes == [(48, 32, 48), (24, 32, 48), (136, 4, 6), (1792, 2, 3)]
    assert feature_extractor("mobilenet_v2_140", pretrained=False).layers == ("blocks.12",)
    gray = extractor.normalize(torch.full((1, 3, 2, 2), 0.5))
    torch.testing.assert_close(gray, torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("layers", [("0",), ("0", "1")])
def test_layers_that_return_no_tensor_are_named(layers):
    class First(nn.Module):
        def forward(self, found):
            return found[0]

    network = nn.Sequential(nn.LSTM(4, 4, batch_first=True), First())
    network = nn.Sequential(nn.Flatten(2), network)
    with pytest.raises(InputError, match=r"the layer '1\.0' returned a tuple; expected a tensor"):
        FeatureExtractor(network, tuple(f"1.{name}" for name in layers))(torch.rand(1, 3, 2, 2))


def test_loading_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    feature_extractor("squeezenet1_1")
    load_classifier("squeezenet1_1")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_packed_weights_do_not_decide_the_precision_of_images(body):
    packed = torch.nn.Parameter(torch.ones(1, dtype=torch.uint8), requires_grad=False)
    body.register_parameter("packed", packed)
    (found,) = FeatureExtractor(body, "conv2")(torch.rand(1, 3, 8, 8))
    assert found.dtype == torch.float32
