"""Bodies of classifiers out of packages of other tasks, batch norms merged into convolutions."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
_TORCH_EPSILON, _KERAS_EPSILON = 1e-5, 1e-3
_KERAS = "layers/functional/layers"


def _float32(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


def _merged(kernel: Array, norm: tuple[Array, ...], epsilon: float) -> tuple[Tensor, Tensor]:
    """An OIHW kernel and its bias with a batch norm's (scale, shift, mean, variance) inside."""
    scale, shift, mean, variance = (np.asarray(values, np.float64) for values in norm)
    factor = scale / np.sqrt(variance + epsilon)
    return _float32(kernel * factor.reshape(-1, 1, 1, 1)), _float32(shift - mean * factor)


def _mobilenet_v2_layers() -> Iterator[tuple[str, str, str]]:
    """Name here, convolution and batch norm there."""
    yield "stem", "features.0.0", "features.0.1"
    for k in range(17):
        for i, part in enumerate(("expand", "depthwise", "project")[k == 0 :]):
            there = f"features.{k + 1}.conv"
            yield f"blocks.{k}.{part}", f"{there}.{3 * i}", f"{there}.{3 * i + 1}"
    yield "last", "features.18.0", "features.18.1"


def mobilenet_v2_torch(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MobileNetV2 under torchvision's first names: the keys of ``MobileNetV2``."""
    state: dict[str, Tensor] = {}
    for name, conv, norm in _mobilenet_v2_layers():
        parts = ("weight", "bias", "running_mean", "running_var")
        values = tuple(raw[f"{norm}.{part}"].double().numpy() for part in parts)
        kernel, bias = _merged(raw[f"{conv}.weight"].double().numpy(), values, _TORCH_EPSILON)
        state |= {f"{name}.conv.weight": kernel, f"{name}.conv.bias": bias}
    return state


def _resnet_thin_names() -> Iterator[str]:
    yield "stem"
    first = (0, 3, 7, 13)
    for block in range(16):
        parts = ("shortcut", "conv1", "conv2", "conv3")[block not in first :]
        yield from (f"blocks.{block}.{part}" for part in parts)


def resnet50_thin(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """The 53 convolutions of an ONNX graph, in its order: the keys of ``ResNet50Thin``."""
    names = [f"{name}.{part}" for name in _resnet_thin_names() for part in ("weight", "bias")]
    found = {name: _float32(raw[key]) for name, key in zip(names, raw, strict=False)}
    if len(found) < len(names):
        raise KeyError(names[len(found)])
    return found


_VIT_LINEAR = {
    "query": "attention/attention/query",
    "key": "attention/attention/key",
    "value": "attention/attention/value",
    "project": "attention/output/dense",
    "fc1": "mlp/fc1",
    "fc2": "mlp/fc2",
}
_VIT_GRID = 37


def vit_s(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """A DINOv2 backbone in ONNX: the keys of ``VisionTransformer``; its decoder is left out."""
    embeddings, width = "backbone.embeddings", 384
    grid = _only(raw, (1, _VIT_GRID**2, width))
    state = {
        "patches.weight": _float32(raw[f"{embeddings}.patch_embeddings.projection.weight"]),
        "patches.bias": _float32(raw[f"{embeddings}.patch_embeddings.projection.bias"]),
        "class_token": _float32(raw[f"{embeddings}.cls_token"]),
        "class_position": _float32(_only(raw, (1, 1, width), but=f"{embeddings}.cls_token")),
        "positions": _float32(grid.transpose(0, 2, 1).reshape(1, width, _VIT_GRID, _VIT_GRID)),
    }
    for k in range(12):
        here, there = f"blocks.{k}", f"backbone.encoder.layer.{k}"
        for part in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                state[f"{here}.{part}.{kind}"] = _float32(raw[f"{there}.{part}.{kind}"])
        for part in ("1", "2"):
            state[f"{here}.scale{part}"] = _float32(raw[f"{there}.layer_scale{part}.lambda1"])
        for name, path in _VIT_LINEAR.items():
            node = f"/backbone/encoder/layer.{k}/{path}/MatMul.matrix"
            state[f"{here}.{name}.weight"] = _float32(raw[node].T)
            bias = f"{there}.{path.replace('/', '.')}.bias"
            state[f"{here}.{name}.bias"] = _float32(raw[bias])
    return state


def _only(raw: Mapping[str, Array], shape: tuple[int, ...], but: str = "") -> Array:
    """The one array of that shape, apart from the one named ``but``; exporters do not name it."""
    found = [key for key, array in raw.items() if array.shape == shape and key != but]
    if len(found) != 1:
        raise KeyError(f"one array of shape {shape}, not {len(found)}")
    return raw[found[0]]


def _keras(raw: Mapping[str, Array], kind: str, index: int) -> tuple[Array, ...]:
    """All variables of the layer ``index`` of a ``kind``, in order."""
    prefix = f"{_KERAS}/{kind}{f'_{index}' if index else ''}/vars/"
    found = sorted((key for key in raw if key.startswith(prefix)), key=_number)
    if not found:
        raise KeyError(prefix)
    return tuple(np.asarray(raw[key], np.float64) for key in found)


def _number(key: str) -> int:
    match = re.search(r"\d+$", key)
    return int(match[0]) if match else 0


def _xception_layers() -> Iterator[str]:
    """Layers that a batch norm follows, in the order of the Keras model."""
    yield from ("stem.0", "stem.2")
    for block in range(12):
        strided = block < 3 or block == 11
        yield from (f"blocks.{block}.convs.{k}" for k in range(2 if strided else 3))
        if strided:
            yield f"blocks.{block}.shortcut"
    yield from ("last.0", "last.2")


def xception_keras(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """Keras's Xception out of a Keras 3 file: the keys of ``Xception``, without the classes."""
    state: dict[str, Tensor] = {}
    counts = {"conv2d": 0, "separable_conv2d": 0}
    for index, name in enumerate(_xception_layers()):
        plain = name.startswith("stem") or name.endswith("shortcut")
        kind = "conv2d" if plain else "separable_conv2d"
        kernels = _keras(raw, kind, counts[kind])
        counts[kind] += 1
        norm = _keras(raw, "batch_normalization", index)
        kernel, bias = _merged(kernels[-1].transpose(3, 2, 0, 1), norm, _KERAS_EPSILON)
        inner = "" if name.startswith("stem") else ".conv" if plain else ".pointwise.conv"
        state |= {f"{name}{inner}.weight": kernel, f"{name}{inner}.bias": bias}
        if not plain:
            depthwise = _float32(kernels[0].transpose(2, 3, 0, 1))
            state[f"{name}.depthwise.conv.weight"] = depthwise
    return state


def _inception_names() -> Iterator[str]:
    """Convolutions to Mixed_6e, in the order of the Keras model."""
    yield from (f"stem.{k}" for k in range(5))
    small, wide = (1, 2, 3, 1), (1, 3, 5, 1)
    for block, depths in enumerate((small, small, small, (1, 3), wide, wide, wide, wide)):
        for branch, depth in enumerate(depths):
            yield from (f"blocks.{block}.branches.{branch}.{k}" for k in range(depth))


def inception_keras(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """The first 70 convolutions of Keras's Inception-v3: the keys of ``InceptionV3``."""
    state: dict[str, Tensor] = {}
    for k, name in enumerate(_inception_names(), 1):
        kernel = np.asarray(raw[f"conv2d_{k}/kernel"], np.float64)
        parts = ("beta", "moving_mean", "moving_variance")
        shift, mean, variance = (raw[f"batch_normalization_{k}/{part}"] for part in parts)
        norm = (np.ones_like(shift), shift, mean, variance)
        weight, bias = _merged(kernel.transpose(3, 2, 0, 1), norm, _KERAS_EPSILON)
        state |= {f"{name}.0.weight": weight, f"{name}.0.bias": bias}
    return state


_LITE3_REPEATS = (1, 3, 3, 5, 5, 6, 1)


def _lite3_layers() -> Iterator[tuple[str, str]]:
    """Convolutions and batch norms of timm's network, in the order of the graph."""
    yield "conv_stem", "bn1"
    for stage, count in enumerate(_LITE3_REPEATS):
        for k in range(count):
            block = f"blocks.{stage}.{k}"
            parts = ("conv_dw", "conv_pw") if stage == 0 else ("conv_pw", "conv_dw", "conv_pwl")
            yield from ((f"{block}.{conv}", f"{block}.bn{i}") for i, conv in enumerate(parts, 1))
    yield "conv_head", "bn2"


def efficientnet_lite3(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """EfficientNet-Lite3 of a TensorFlow Lite graph: timm's keys.

    The graph has merged the batch norms into the convolutions; those here pass on what they get and
    add the convolution's bias.
    """
    state: dict[str, Tensor] = {}
    arrays = iter(raw.items())
    for conv, norm in _lite3_layers():
        (name, kernel), (_, bias) = _next(arrays, conv), _next(arrays, norm)
        order = (3, 0, 1, 2) if ".depthwise." in name else (0, 3, 1, 2)
        shift = _float32(bias)
        state |= {
            f"{conv}.weight": _float32(kernel.transpose(order)),
            f"{norm}.weight": torch.full_like(shift, (1 + _KERAS_EPSILON) ** 0.5),
            f"{norm}.bias": shift,
            f"{norm}.running_mean": torch.zeros_like(shift),
            f"{norm}.running_var": torch.ones_like(shift),
            f"{norm}.num_batches_tracked": torch.tensor(0),
        }
    for part in ("weight", "bias"):
        state[f"classifier.{part}"] = _float32(_next(arrays, "classifier")[1])
    return state


def _next(arrays: Iterator[tuple[str, Array]], name: str) -> tuple[str, Array]:
    try:
        return next(arrays)
    except StopIteration:
        raise KeyError(name) from None
