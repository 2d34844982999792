"""The arrays of three TensorFlow.js models as state dicts: two detectors and a MobileNetV2.

Batch norms, whose scale their exporters had merged into most kernels already, are merged into the
rest here: what remains is convolutions with a bias.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
_EPSILON = 1e-3
_SSD = "FeatureExtractor/MobilenetV2"


def _kernel(array: Array, scale: Array | float = 1.0, *, depthwise: bool = False) -> Tensor:
    """HWIO (HWC1 if depthwise) times a scale a channel, as OIHW (C1HW) float32."""
    values = np.asarray(array, np.float64)
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    values = values.transpose(order) * np.reshape(scale, (-1, 1, 1, 1))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _vector(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _set(state: dict[str, Tensor], name: str, weight: Tensor, bias: Array | None) -> None:
    state[f"{name}.conv.weight"] = weight
    if bias is not None:
        state[f"{name}.conv.bias"] = _vector(bias)


def _ssd_conv(raw: Mapping[str, Array], path: str) -> tuple[Tensor, Array]:
    """One convolution of the extractor and its bias; depthwise ones still carry their scale."""
    shift = raw[f"{path}/BatchNorm/batchnorm/sub"]
    if f"{path}/depthwise_weights" in raw:
        scale = raw[f"{path}/BatchNorm/batchnorm/mul"]
        return _kernel(raw[f"{path}/depthwise_weights"], scale, depthwise=True), shift
    return _kernel(raw[f"{path}/Conv2D/merged_input"]), shift


def _ssd_layers() -> dict[str, str]:
    layers = {"stem": "Conv", "last": "Conv_1"}
    for k in range(17):
        for part in ("expand", "depthwise", "project")[k == 0 :]:
            layers[f"blocks.{k}.{part}"] = f"expanded_conv{f'_{k}' if k else ''}/{part}"
    widths = ((256, 512), (128, 256), (128, 256), (64, 128))
    for k, (squeezed, width) in enumerate(widths):
        end = f"layer_19_2_Conv2d_{k + 2}_3x3_s2_{width}"
        layers[f"extras.{k}.0"] = f"layer_19_1_Conv2d_{k + 2}_1x1_{squeezed}"
        layers[f"extras.{k}.1"] = f"{end}_depthwise"
        layers[f"extras.{k}.2"] = end
    return layers


def _ssd_predictor(raw: Mapping[str, Array], path: str) -> tuple[Tensor, Array]:
    """The depthwise half of a predictor, its batch norm merged."""
    norm = f"{path}_depthwise/BatchNorm"
    scale = raw[f"{norm}/gamma"] / np.sqrt(raw[f"{norm}/moving_variance"] + _EPSILON)
    shift = raw[f"{norm}/beta"] - raw[f"{norm}/moving_mean"] * scale
    kernel = raw[f"{path}_depthwise/depthwise_weights"]
    return _kernel(kernel, scale, depthwise=True), shift


def coco_ssd(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """SSDLite on MobileNetV2 of TensorFlow's Object Detection: the keys of ``SsdLite``."""
    state: dict[str, Tensor] = {}
    for name, path in _ssd_layers().items():
        _set(state, name, *_ssd_conv(raw, f"{_SSD}/{path}"))
    for k in range(6):
        for kind, predictor in (("boxes", "BoxEncodingPredictor"), ("classes", "ClassPredictor")):
            path = f"BoxPredictor_{k}/{predictor}"
            _set(state, f"{kind}.{k}.0", *_ssd_predictor(raw, path))
            _set(state, f"{kind}.{k}.1", _kernel(raw[f"{path}/weights"]), raw[f"{path}/biases"])
    return state


_CENTERNET_NAMES = (
    (r"^tower_0/", ""),
    (r"^MobilenetV3/Conv$", "stem"),
    (r"^MobilenetV3/expanded_conv/", "blocks.0."),
    (r"^MobilenetV3/expanded_conv_(\d+)/", r"blocks.\1."),
    (r"squeeze_excite/Conv$", "gate.reduce"),
    (r"squeeze_excite/Conv_1$", "gate.expand"),
    (r"^extern1$", "last"),
    (r"^CenternetHead/conv1x1_se_a$", "gate.reduce"),
    (r"^CenternetHead/conv1x1_se_b$", "gate.expand"),
    (r"^CenternetHead/c(\d)_reverse/1x1$", r"laterals.c\1.0"),
    (r"^CenternetHead/c(\d)_reverse/3x3$", r"laterals.c\1.1"),
    (r"^CenternetHead/c(\d)_upsample/branch_x_upsample_resize$", r"ups.c\1.narrow"),
    (r"^CenternetHead/c(\d)_upsample/branch_y_upsample_resize$", r"ups.c\1.wide"),
    (r"^CenternetHead/centernet_cls_output$", "heat"),
    (r"^CenternetHead/centernet_wh_output$", "reach"),
)
_CENTERNET_PARTS = {
    "Conv2D_weights": ".conv.weight",
    "Conv2D_bn_offset": ".conv.bias",
    "weights": ".conv.weight",
    "biases": ".conv.bias",
    "pointwise_weights": ".pointwise.conv.weight",
    "separable_conv2d_weights": ".pointwise.conv.weight",
    "separable_conv2d_bn_offset": ".pointwise.conv.bias",
}


def _centernet_key(path: str) -> str:
    """Rename ``MobilenetV3/expanded_conv_3/project/Conv2D_weights`` and its like."""
    layer, _, part = path.rpartition("/")
    if part.startswith("depthwise_"):
        block = "expanded_conv" in layer
        inner = "" if block else ".depthwise"
        end = f"{inner}.conv.{'weight' if part == 'depthwise_weights' else 'bias'}"
    else:
        end = _CENTERNET_PARTS[part]
        if part == "biases" and layer.endswith("_output"):
            end = ".pointwise.conv.bias"
    for pattern, replacement in _CENTERNET_NAMES:
        layer = re.sub(pattern, replacement, layer)
    return layer + end


def centernet(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """CenterNet on MobileNetV3: the keys of ``CenterNetV3``; the graph's constants are left out."""
    state: dict[str, Tensor] = {}
    for path, array in raw.items():
        if array.ndim == 4:
            depthwise = path.endswith("depthwise_weights")
            state[_centernet_key(path)] = _kernel(array, depthwise=depthwise)
        elif path.endswith(("/biases", "_bn_offset")):
            state[_centernet_key(path)] = _vector(array)
    return state


def mobilenet_v2(raw: Mapping[str, Array]) -> dict[str, Tensor]:
    """MobileNetV2's convolutions: the keys of ``MobileNetV2``; the classes' matrix is left out."""
    state: dict[str, Tensor] = {}
    for path, array in raw.items():
        layer, _, part = path.partition("MobilenetV2/")[2].rpartition("/")
        if not layer:
            continue
        name = re.sub(r"^expanded_conv(?:_(\d+))?/", lambda m: f"blocks.{m[1] or 0}.", layer)
        name = {"Conv": "stem", "Conv_1": "last"}.get(name, name)
        if array.ndim == 4:
            depthwise = part == "depthwise_weights"
            state[f"{name}.conv.weight"] = _kernel(array, depthwise=depthwise)
        else:
            state[f"{name}.conv.bias"] = _vector(array)
    return state
