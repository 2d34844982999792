"""From what a package's file holds to a state dict in PyTorch's layout (OIHW)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

VGG16_CONVS = tuple(
    f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)
)
ALEXNET_CONVS = tuple(f"conv{i}" for i in range(1, 6))
_VARIABLES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_OUTER_KEYS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _tensor(array: npt.ArrayLike) -> Tensor:
    """Return an own, contiguous float32 copy; turn HWIO kernels into OIHW."""
    values = np.asarray(array, dtype=np.float32)
    if values.ndim == 4:
        values = values.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.array(values, order="C"))


def _depthwise(array: npt.ArrayLike) -> Tensor:
    """Turn a depthwise kernel H×W×C×1 into C×1×H×W."""
    return _tensor(array).transpose(0, 1).contiguous()


def _flax(layers: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Tensor]:
    state = {}
    for k, name in enumerate(names):
        state[f"{name}.weight"] = _tensor(layers[f"Conv_{k}"]["kernel"])
        state[f"{name}.bias"] = _tensor(layers[f"Conv_{k}"]["bias"])
    return state


def vgg16_flax(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """VGG16 of the LPIPS port to JAX: ``VGG16_0/Conv_k`` becomes ``conv1_1`` ... ``conv5_3``."""
    return _flax(raw["VGG16_0"], VGG16_CONVS)


def alexnet_flax(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """AlexNet of the LPIPS port to JAX: ``AlexNet_0/Conv_k`` becomes ``conv1`` ... ``conv5``."""
    return _flax(raw["AlexNet_0"], ALEXNET_CONVS)


def vgg16_keras(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """VGG16 body of the Keras edge detector; nothing is folded, input stays BGR minus mean."""
    state = {}
    for name in VGG16_CONVS:
        block, index = name.removeprefix("conv").split("_")
        layer = "conv2d" if index == "1" else f"conv2d_{int(index) - 1}"
        for k, part in enumerate(("weight", "bias")):
            state[f"{name}.{part}"] = _tensor(raw[f"block{block}/layers/{layer}/vars/{k}"])
    return state


def squeezenet_pickle(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """SqueezeNet as a dict of ``layer: (kernel, bias)``; ``fire2/x`` becomes ``fire2.x``."""
    state = {}
    for name, (kernel, bias) in raw.items():
        state[f"{name.replace('/', '.')}.weight"] = _tensor(kernel)
        state[f"{name.replace('/', '.')}.bias"] = _tensor(bias)
    return state


def _mobilenet_layer(layer: str) -> str:
    """Rename ``conv_dw_1_bn`` to ``blocks.0.depthwise.bn`` and so on."""
    if layer == "conv_preds":
        return "head"
    kind = "bn" if layer.endswith("_bn") else "conv"
    match = re.match(r"conv_(dw|pw)_(\d+)", layer)
    if match is None:
        return f"stem.{kind}"
    half = "depthwise" if match[1] == "dw" else "pointwise"
    return f"blocks.{int(match[2]) - 1}.{half}.{kind}"


def mobilenet_keras(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """MobileNetV1 of Keras: ``conv_dw_1/conv_dw_1/depthwise_kernel:0`` and its like."""
    state = {}
    for path, array in raw.items():
        layer, variable = path.split("/")[0], path.split("/")[-1].removesuffix(":0")
        key = f"{_mobilenet_layer(layer)}.{_VARIABLES[variable]}"
        state[key] = _depthwise(array) if variable == "depthwise_kernel" else _tensor(array)
    state["head.weight"] = state["head.weight"].flatten(1)
    return state


def _timm_blocks(repeats: tuple[int, ...]) -> Iterator[str]:
    for stage, count in enumerate(repeats):
        yield from (f"blocks.{stage}.{i}" for i in range(count))


def _efficientnet(raw: Mapping[str, Tensor], repeats: tuple[int, ...]) -> dict[str, Tensor]:
    blocks = list(_timm_blocks(repeats))
    state = {}
    for key, value in raw.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if match:
            k, layer, part = int(match[1]), match[2], match[3]
            inner = _SEPARABLE if k == 0 else _INVERTED
            state[f"{blocks[k]}.{inner[layer]}.{part}"] = value
        else:
            layer, part = key.split(".")
            state[f"{_OUTER_KEYS[layer]}.{part}"] = value
    return state


def efficientnet_lite0(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0 of ML Illustrated to timm's key names."""
    return _efficientnet(raw, (1, 2, 2, 3, 3, 4, 1))


def efficientnet_lite12(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite1 and Lite2 of ML Illustrated to timm's key names."""
    return _efficientnet(raw, (1, 3, 3, 4, 4, 5, 1))


def torchvision_features(raw: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Rename the convolutions of a torchvision ``features`` stack to ``names``, in order."""
    keys = [key for key in raw if re.fullmatch(r"features\.\d+\.weight", key)]
    state = {}
    for key, name in zip(keys, names, strict=True):
        state[f"{name}.weight"] = raw[key]
        state[f"{name}.bias"] = raw[key.replace("weight", "bias")]
    return state
