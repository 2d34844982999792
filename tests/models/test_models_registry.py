import socket
import sys

import pytest
import torch

from nrpurify import models, weights
from nrpurify.core.errors import InputError, MissingExtraError, WeightsError
from nrpurify.models.mobilenet_v1 import MobileNetV1


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(weights, "fetch", refuse)
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "absent"))
    yield
    assert not (tmp_path / "absent").exists()


NAMES = (*models.names(), "timm:test_efficientnet", "torchvision:squeezenet1_1")


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_need_no_network(name, offline):
    if "efficientnet" in name:
        pytest.importorskip("timm")
    if name.startswith("torchvision"):
        pytest.importorskip("torchvision")
    classifier = models.load_classifier(name, pretrained=False, device="cpu")
    assert classifier.name == name
    assert classifier.num_classes == 1000
    assert not any(module.training for module in classifier.modules())
    assert not any(p.requires_grad for p in classifier.parameters())
    images = torch.rand(1, 3, 50, 40, requires_grad=True)
    logits = classifier(images)
    assert logits.shape == (1, 1000)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    assert gradient.abs().sum() > 0


def test_names_have_weights():
    bodies = {name.removesuffix("_ridge") for name in models.names()}
    assert bodies <= set(weights.names())
    assert len(models.names()) == 9


def test_preprocessing_comes_from_the_table_and_the_libraries():
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    squeeze = models.load_classifier("squeezenet1_1", pretrained=False)
    assert (squeeze.input_size, squeeze.bgr) == (227, True)
    vision = models.load_classifier("torchvision:squeezenet1_1", pretrained=False)
    assert vision.input_size == 224
    torch.testing.assert_close(vision.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    lite = models.load_classifier("timm:tf_efficientnet_lite0", pretrained=False)
    assert lite.input_size == 224
    torch.testing.assert_close(lite.std.flatten(), torch.tensor([0.5, 0.5, 0.5]))


def test_pretrained_weights_are_loaded(monkeypatch):
    state = MobileNetV1().state_dict()
    monkeypatch.setattr(weights, "load", lambda name: state if name == "mobilenet_v1_025" else {})
    classifier = models.load_classifier("mobilenet_v1_025")
    assert torch.equal(classifier.network.head.weight, state["head.weight"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("squeezenet", "mean squeezenet1_1"),
        ("timm:", "expected one of"),
        ("keras:vgg16", "timm:NAME, torchvision:NAME"),
        ("timm:resnett50", "mean .*resnet50"),
        ("timm:?", r"expected one of .*, \.\.\."),
        ("torchvision:vgg9", "mean .*vgg19"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no classifier"),
        ("torchvision:resnet152.V1", "'V1'; expected IMAGENET1K_V1 or IMAGENET1K_V2, or resnet152"),
    ],
)
def test_unknown_names_get_a_hint(name, hint):
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    with pytest.raises(InputError, match=hint):
        models.load_classifier(name, pretrained=False)


@pytest.mark.parametrize(
    ("name", "builder"),
    [
        ("timm:test_efficientnet", "timm.create_model"),
        ("torchvision:squeezenet1_1", "torchvision.models.get_model"),
    ],
)
def test_hub_out_of_reach(monkeypatch, name, builder):
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")

    def fail(*args, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr(builder, fail)
    with pytest.raises(WeightsError, match=f"of {name} could not be fetched: OSError: unreachable"):
        models.load_classifier(name)
    with pytest.raises(OSError, match=r"^unreachable$"):
        models.load_classifier(name, pretrained=False)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("timm:resnet50", "timm"),
        ("efficientnet_lite0", "timm"),
        ("torchvision:vgg19", "torchvision"),
    ],
)
def test_missing_library(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*nrpurify\[models\]"):
        models.load_classifier(name, pretrained=False)


@pytest.mark.parametrize(
    ("name", "entry"),
    [("resnet152", "IMAGENET1K_V2"), ("resnet152.IMAGENET1K_V1", "IMAGENET1K_V1")],
)
def test_an_entry_of_torchvisions_weights_by_name(monkeypatch, name, entry):
    vision = pytest.importorskip("torchvision.models")
    asked = []

    def build(model, weights):
        asked.append((model, weights.name))
        return torch.nn.Linear(1, 1)

    monkeypatch.setattr(vision, "get_model", build)
    classifier = models.load_classifier(f"torchvision:{name}")
    assert asked == [("resnet152", entry)]
    assert classifier.name == f"torchvision:{name}"


def test_imagenet_classes_come_with_the_victims(monkeypatch):
    vision = pytest.importorskip("torchvision.models")
    expected = vision.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    models.imagenet_classes.cache_clear()
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    names = models.imagenet_classes()
    assert list(names) == expected
    assert (len(names), names[258]) == (1000, "Samoyed")


def test_bodies_without_classes_are_named():
    with pytest.raises(InputError, match="xception is a network without classes; take xception_r"):
        models.load_classifier("xception")
    with pytest.raises(InputError, match="vit_s is a network without classes; give it to ssp"):
        models.load_classifier("vit_s")
