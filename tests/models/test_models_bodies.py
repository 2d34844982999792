"""Bodies out of packages of other tasks, their conversion and their heads."""

import json
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nrpurify import weights
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.images import read_image
from nrpurify.models import heads, load_classifier
from nrpurify.models.detectors.mobilenet_v2 import MobileNetV2
from nrpurify.models.features import feature_extractor
from nrpurify.models.inception import InceptionV3
from nrpurify.models.resnet_thin import ResNet50Thin
from nrpurify.models.vit import VisionTransformer
from nrpurify.models.xception import Xception
from nrpurify.weights import convert_bodies
from nrpurify.weights.read import reader_for

REFERENCE = json.loads(Path(__file__).with_name("bodies_reference.json").read_text())
HEADED = {"mobilenet_v2": "last", "resnet50_thin": "blocks.15", "xception": "last"}
LAST = {**HEADED, "vit_s": "blocks.11", "inception_v3": "blocks.7"}
SIDE = {"xception": 150}


def older_name(name):
    """torchvision's name of today as it was in 2018: no group per convolution."""
    first = re.fullmatch(r"features\.(\d+)\.conv\.(\d)\.(\d)\.(.*)", name)
    if first:
        return f"features.{first[1]}.conv.{3 * int(first[2]) + int(first[3])}.{first[4]}"
    inner = re.fullmatch(r"features\.(\d+)\.conv\.(\d)\.(.*)", name)
    if inner:
        groups = 1 if inner[1] == "1" else 2
        place = 3 * groups + int(inner[2]) - groups
        return f"features.{inner[1]}.conv.{place}.{inner[3]}"
    return name


def test_mobilenet_v2_is_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.mobilenet_v2().eval()
    for name, value in theirs.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    raw = {older_name(k): v for k, v in theirs.state_dict().items() if k.startswith("features")}
    ours = MobileNetV2(symmetric=True).eval()
    ours.load_state_dict(convert_bodies.mobilenet_v2_torch(raw))
    images = torch.randn(2, 3, 48, 66)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.features(images), atol=1e-4, rtol=1e-4)


def test_resnet_thin_takes_the_graphs_convolutions_in_order():
    network = ResNet50Thin()
    names = list(convert_bodies._resnet_thin_names())
    assert len(names) == 53
    state = network.state_dict()
    assert {f"{name}.{part}" for name in names for part in ("weight", "bias")} == state.keys()
    raw = {f"node{i}.{part}": state[f"{name}.{part}"].numpy()
           for i, name in enumerate(names) for part in ("weight", "bias")}  # fmt: skip
    found = convert_bodies.resnet50_thin(raw)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert network(torch.rand(1, 3, 64, 96)).shape == (1, 1024, 2, 3)


def keras_arrays(network):
    """What Keras keeps of an Xception: kernels HWIO, batch norms apart; and those norms."""
    raw, norms, counts = {}, {}, {"conv2d": 0, "separable_conv2d": 0}
    rng = np.random.default_rng(0)
    state = {name: value.numpy() for name, value in network.state_dict().items()}

    def keep(kind, index, *arrays):
        layer = f"layers/functional/layers/{kind}{f'_{index}' if index else ''}/vars"
        raw.update({f"{layer}/{k}": array for k, array in enumerate(arrays)})

    for index, name in enumerate(convert_bodies._xception_layers()):
        separable = f"{name}.depthwise.conv.weight" in state
        kind = "separable_conv2d" if separable else "conv2d"
        inner = ".pointwise.conv" if separable else "" if name.startswith("stem") else ".conv"
        kernel = state[f"{name}{inner}.weight"].transpose(2, 3, 1, 0)
        kernels = [kernel]
        if separable:
            kernels.insert(0, state[f"{name}.depthwise.conv.weight"].transpose(2, 3, 0, 1))
        keep(kind, counts[kind], *kernels)
        counts[kind] += 1
        norm = rng.uniform(0.5, 1.5, (4, kernel.shape[-1])).astype(np.float32)
        keep("batch_normalization", index, *norm)
        norms[f"{name}{inner}"] = norm
    return raw, norms


def test_xception_out_of_keras_layers():
    network = Xception().eval()
    raw, norms = keras_arrays(network)
    found = convert_bodies.xception_keras(raw)
    state = network.state_dict()
    assert found.keys() == state.keys()
    for name, (scale, shift, mean, variance) in norms.items():
        factor = scale / np.sqrt(variance + 1e-3)
        want = state[f"{name}.weight"].numpy() * factor.reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(found[f"{name}.weight"].numpy(), want, rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}.bias"].numpy(), shift - mean * factor, atol=1e-5)
    assert network(torch.rand(1, 3, 72, 96)).shape == (1, 2048, 3, 3)
    with pytest.raises(KeyError):
        convert_bodies.xception_keras({})


def test_inception_out_of_keras_layers():
    network = InceptionV3()
    names = list(convert_bodies._inception_names())
    convs = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert [f"{name}.0" for name in names] == convs
    raw = {}
    for k, name in enumerate(names, 1):
        weight = network.get_submodule(f"{name}.0").weight.detach().numpy()
        raw[f"conv2d_{k}/kernel"] = weight.transpose(2, 3, 1, 0)
        raw[f"batch_normalization_{k}/beta"] = np.full(len(weight), k, np.float32)
        raw[f"batch_normalization_{k}/moving_mean"] = np.full(len(weight), 2.0, np.float32)
        raw[f"batch_normalization_{k}/moving_variance"] = np.full(len(weight), 4.0, np.float32)
    found = convert_bodies.inception_keras(raw)
    network.load_state_dict(found)
    torch.testing.assert_close(found["stem.2.0.bias"], torch.full((64,), 3 - 2 / 4.001**0.5))
    with pytest.raises(KeyError):
        convert_bodies.inception_keras({})


def test_vit_out_of_an_onnx_graph():
    network = VisionTransformer()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    projection = "backbone.embeddings.patch_embeddings.projection"
    raw = {
        f"{projection}.weight": state["patches.weight"],
        f"{projection}.bias": state["patches.bias"],
        "backbone.embeddings.cls_token": state["class_token"],
        "onnx::Concat_1": state["class_position"],
        "onnx::Reshape_2": state["positions"].reshape(1, 384, -1).transpose(0, 2, 1),
    }
    for name, value in state.items():
        match = re.fullmatch(r"blocks\.(\d+)\.(\w+?)(\d?)(?:\.(weight|bias))?", name)
        if match is None:
            continue
        block, layer, number, part = match.groups()
        there = f"backbone.encoder.layer.{block}"
        if layer == "norm":
            raw[f"{there}.norm{number}.{part}"] = value
        elif layer == "scale":
            raw[f"{there}.layer_scale{number}.lambda1"] = value
        else:
            path = convert_bodies._VIT_LINEAR[f"{layer}{number}"]
            if part == "bias":
                raw[f"{there}.{path.replace('/', '.')}.bias"] = value
            else:
                raw[f"/backbone/encoder/layer.{block}/{path}/MatMul.matrix"] = value.T
    found = convert_bodies.vit_s(raw)
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], value) for name, value in state.items())
    with pytest.raises(KeyError, match="one array of shape"):
        convert_bodies.vit_s({**raw, "other": raw["onnx::Concat_1"]})


def test_keras_archives_are_read_without_their_config(tmp_path):
    inner, archive = tmp_path / "x.h5", tmp_path / "x.keras"
    with h5py.File(inner, "w") as file:
        file["layers/conv2d/vars/0"] = np.arange(3.0)
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("config.json", "not even JSON")
        pack.write(inner, "model.weights.h5")
    raw = reader_for("a/x.keras")(archive)
    assert raw["layers/conv2d/vars/0"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("config.json", "")
    with pytest.raises(WeightsError, match=r"model\.weights\.h5"):
        reader_for("a/x.keras")(archive)


def test_ridge_head_solves_the_primal_problem():
    features, logits = torch.randn(30, 6), torch.randn(30, 4) * 3
    found = heads.ridge_head(features, logits, 2.0)
    x = (features - features.mean(0)) / features.std(0)
    y = logits - logits.mean(1, keepdim=True)
    center = y.mean(0)
    want = torch.linalg.solve(x.T @ x + 2 * torch.eye(6), x.T @ (y - center))
    torch.testing.assert_close(
        features @ found["weight"].T + found["bias"], x @ want + center, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("rows", "ridge"), [((3, 4), 1.0), ((1, 1), 1.0), ((3, 3), 0.0)])
def test_ridge_head_names_what_it_cannot_use(rows, ridge):
    with pytest.raises(InputError, match="expected the same number of rows"):
        heads.ridge_head(torch.rand(rows[0], 2), torch.rand(rows[1], 2), ridge)


def test_a_taught_head_gives_the_teachers_logits():
    batches = [torch.rand(4, 3, 8, 8) for _ in range(3)]
    state = heads.teach_head(lambda x: x, lambda x: x.mean((2, 3)) * 5, batches, 1e-3)
    images = torch.cat(batches)
    want = images.mean((2, 3)) * 5
    found = images.mean((2, 3)) @ state["weight"].T + state["bias"]
    torch.testing.assert_close(found, want - want.mean(1, keepdim=True), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", HEADED)
def test_ridge_classifiers_are_body_and_head(name, monkeypatch):
    whole = load_classifier(f"{name}_ridge", pretrained=False)
    monkeypatch.setattr(
        weights,
        "load",
        lambda body: whole.network.body.state_dict() if body == name else 0,
    )
    classifier = load_classifier(f"{name}_ridge")
    head = heads.load_head(name)
    assert torch.equal(classifier.network.head.weight, head["head.weight"])
    assert classifier.input_size == 224
    assert classifier.bgr == weights.get(name).preprocessing.bgr
    assert classifier(torch.rand(1, 3, 40, 40)).shape == (1, 1000)


@pytest.mark.parametrize("name", LAST)
def test_bodies_take_images_as_they_are(name):
    extractor = feature_extractor(name, ["blocks.1", LAST[name]], pretrained=False)
    early, late = extractor(torch.rand(1, 3, 96, 128))
    if name == "vit_s":
        assert early.shape == late.shape == (1, 1 + 6 * 9, 384)
    else:
        assert early.shape[-1] > late.shape[-1] >= 3
    assert feature_extractor(name, pretrained=False).layers[0].startswith("blocks.")


def test_vit_computes_in_half_precision_too():
    extractor = feature_extractor("vit_s", "blocks.1", pretrained=False)
    images = torch.rand(1, 3, 28, 42)
    (expected,) = extractor(images)
    (found,) = extractor.bfloat16()(images)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAST)
def test_same_features_as_the_original(name):
    """``bodies_reference.json``: keras 3.15.1, onnxruntime 1.32.0 and torchvision 0.29.1.

    The first twelve pooled features of the upper left 224×224 (Xception 150×150) pixels of
    photographs that foolbox ships.
    """
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("foolbox, which ships the photographs, is not installed")
    extractor, side = feature_extractor(name, LAST[name]), SIDE.get(name, 224)
    for entry in REFERENCE:
        image = read_image(Path(spec.origin).parent / "data" / entry["photo"]).rgb
        with torch.no_grad():
            (found,) = extractor(image[None, :, :side, :side])
        want = torch.tensor(entry[name])
        pooled = found.mean(1) if found.ndim == 3 else found.mean((2, 3))
        torch.testing.assert_close(pooled[0, :12], want, atol=1e-4, rtol=1e-3)
