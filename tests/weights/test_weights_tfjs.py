import base64
import json
import re

import numpy as np
import pytest
import torch

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import file_hash
from nrpurify.models.detectors.centernet import CenterNetV3
from nrpurify.models.detectors.mobilenet_v2 import MobileNetV2
from nrpurify.models.detectors.ssd import SsdLite
from nrpurify.weights import convert_detectors, places, read, table
from nrpurify.weights.tfjs import read_tfjs, read_tfjs_script

FLOATS = np.array([[1.0, -2.5], [0.25, 4.0]], "<f4")
BYTES = np.array([0, 10, 255], "u1")
HALVES = np.array([0.5, 1.5], "<f2")


def entry(name, array, stored=None, **quantization):
    row = {"name": name, "shape": list(array.shape), "dtype": "float32"}
    return row | ({"quantization": {"dtype": stored} | quantization} if stored else {})


def write(folder, data=None, **changes):
    data = FLOATS.tobytes() + BYTES.tobytes() + HALVES.tobytes() if data is None else data
    (folder / "shard1").write_bytes(data[:7])
    (folder / "shard2").write_bytes(data[7:])
    rows = [
        entry("floats", FLOATS),
        entry("bytes", BYTES, stored="uint8", scale=0.5, min=-1.0),
        entry("halves", HALVES, stored="float16"),
    ]
    group = {"paths": ["shard1", "shard2"], "weights": rows} | changes
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [group]}))
    return folder / "model.json"


def test_shards_and_quantization(tmp_path):
    found = read.reader_for("package/model.json")(write(tmp_path))
    np.testing.assert_array_equal(found["floats"], FLOATS)
    np.testing.assert_array_equal(found["bytes"], np.float32([-1.0, 4.0, 126.5]))
    np.testing.assert_array_equal(found["halves"], np.float32([0.5, 1.5]))
    assert all(values.dtype == np.float32 for values in found.values())


@pytest.mark.parametrize(
    ("data", "changes", "text"),
    [
        (b"123456789", {}, "end at byte 9, inside 'floats'"),
        (bytes(40), {}, "hold 40 bytes; the manifest names 23"),
        (None, {"paths": ["../shard1"]}, "bare name"),
        (None, {"paths": ["absent"]}, "not a readable model"),
        (None, {"weights": [{"name": "a", "shape": [1], "dtype": "string"}]}, "stored as string"),
        (None, {"weights": [{"name": "a"}]}, "not a readable model"),
    ],
)
def test_broken_models_are_named(tmp_path, data, changes, text):
    with pytest.raises(WeightsError, match=text):
        read_tfjs(write(tmp_path, data, **changes))


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff"])
def test_not_a_model(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(WeightsError, match="not a readable model"):
        read_tfjs(tmp_path / "model.json")


SCRIPT = (
    'function(){{return function e(a){{}}("bundle")}}({{1:[function(e,t){{{}}},{{}}]}},{{}},[1])'
)


def bundle(folder, model=None):
    """The model of :func:`write` as a bundler packs it."""
    groups = json.loads(write(folder).read_text())["weightsManifest"]
    text = json.dumps(groups, separators=(",", ":"))
    literal = re.sub(r'"(\w+)":', r"\1:", text).replace("0.5", ".5")
    model = (
        f'a={{modelTopology:{{node:"x:.1"}},weightsManifest:{literal}}}' if model is None else model
    )
    (folder / "model.min.js").write_text(SCRIPT.format(model))
    for name in groups[0]["paths"]:
        text = base64.b64encode((folder / name).read_bytes()).decode()
        (folder / f"{name}.min.js").write_text(SCRIPT.format(f't.exports="{text}"'))
    return folder / "model.min.js"


def test_models_packed_in_scripts(tmp_path):
    plain = read_tfjs(write(tmp_path))
    found = read.reader_for("package/model.min.js")(bundle(tmp_path))
    assert plain.keys() == found.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("model", ["", "a={weightsManifest:[{paths", "a={weightsManifest:[{}]}"])
def test_scripts_without_a_model(tmp_path, model):
    with pytest.raises(WeightsError, match=r"holds no weightsManifest|not a readable model"):
        read_tfjs_script(bundle(tmp_path, model))


@pytest.mark.parametrize("shard", ["", 't.exports="*"', 't.exports="abc"'])
def test_scripts_without_a_shard(tmp_path, shard):
    script = bundle(tmp_path)
    (tmp_path / "shard2.min.js").write_text(shard)
    with pytest.raises(WeightsError, match="not a readable model"):
        read_tfjs_script(script)


def test_companions_of_a_member_given_by_hand_are_verified(tmp_path):
    member = write(tmp_path)
    sums = tuple((f"package/{n}", file_hash(tmp_path / n)) for n in ("shard1", "shard2"))
    source = table.PackageSource(
        "npm", "tiny", "1.0", "0" * 64, 1, False, "package/model.json", file_hash(member), sums
    )
    weight = table.Weight(
        "tiny", source, "MIT", "-", table.Preprocessing((0,) * 3, (1,) * 3), dict, "0" * 64
    )
    assert set(places.from_file(weight, member, tmp_path)) == {"floats", "bytes", "halves"}
    (tmp_path / "shard2").write_bytes(b"tampered")
    with pytest.raises(WeightsError, match="shard2 has sha256"):
        places.from_file(weight, member, tmp_path)
    (tmp_path / "shard2").unlink()
    with pytest.raises(WeightsError, match="is missing"):
        places.from_file(weight, member, tmp_path)


def hwio(weight, depthwise):
    return (
        weight.numpy().transpose(2, 3, 0, 1) if depthwise else weight.numpy().transpose(2, 3, 1, 0)
    )


def test_coco_ssd_merges_its_batch_norms():
    network = SsdLite()
    raw = {}
    for name, path in convert_detectors._ssd_layers().items():
        conv = network.get_submodule(name).conv
        weight, bias = conv.weight.detach(), conv.bias.detach().numpy()
        full = f"FeatureExtractor/MobilenetV2/{path}"
        raw[f"{full}/BatchNorm/batchnorm/sub"] = bias
        if conv.groups > 1:
            raw[f"{full}/depthwise_weights"] = hwio(weight / 2, True)
            raw[f"{full}/BatchNorm/batchnorm/mul"] = np.full(len(bias), 2, np.float32)
        else:
            raw[f"{full}/Conv2D/merged_input"] = hwio(weight, False)
    for kind, predictor in (("boxes", "BoxEncodingPredictor"), ("classes", "ClassPredictor")):
        for k, (first, last) in enumerate(getattr(network, kind)):
            path = f"BoxPredictor_{k}/{predictor}"
            norm = f"{path}_depthwise/BatchNorm"
            ones = np.ones(len(first.conv.bias), np.float32)
            raw[f"{path}_depthwise/depthwise_weights"] = hwio(first.conv.weight.detach(), True)
            raw[f"{norm}/gamma"], raw[f"{norm}/beta"] = (
                ones * 3,
                first.conv.bias.detach().numpy() + 6,
            )
            raw[f"{norm}/moving_mean"], raw[f"{norm}/moving_variance"] = ones * 2, ones * (9 - 1e-3)
            raw[f"{path}/weights"] = hwio(last.conv.weight.detach(), False)
            raw[f"{path}/biases"] = last.conv.bias.detach().numpy()
    state = convert_detectors.coco_ssd(raw)
    own = network.state_dict()
    assert state.keys() == own.keys()
    bias = "boxes.0.0.conv.bias"
    np.testing.assert_allclose(state.pop(bias), own.pop(bias) + 4, atol=1e-5)
    for name, value in state.items():
        shift = 4 if re.fullmatch(r"(boxes|classes)\.\d\.0\.conv\.bias", name) else 0
        if name in own:
            np.testing.assert_allclose(value, own[name] + shift, atol=1e-5)


def test_centernet_names():
    known = CenterNetV3().state_dict().keys()
    v3 = "MobilenetV3/expanded_conv"
    for path, key in {
        "tower_0/MobilenetV3/Conv/Conv2D_weights": "stem.conv.weight",
        f"tower_0/{v3}/depthwise/depthwise_bn_offset": "blocks.0.depthwise.conv.bias",
        f"{v3}_3/squeeze_excite/Conv_1/biases": "blocks.3.gate.expand.conv.bias",
        "CenternetHead/c4_reverse/3x3/depthwise_weights": "laterals.c4.1.depthwise.conv.weight",
        "CenternetHead/centernet_wh_output/biases": "reach.pointwise.conv.bias",
        "CenternetHead/conv1x1_se_b/weights": "gate.expand.conv.weight",
    }.items():
        assert convert_detectors._centernet_key(path) == key
        assert key in known
    kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 2, 1)
    state = convert_detectors.centernet(
        {"CenternetHead/c2_reverse/3x3/depthwise_weights": kernel, "tower_0/mul/y": np.float32(16)}
    )
    assert state["laterals.c2.1.depthwise.conv.weight"].shape == (2, 1, 3, 3)
    assert len(state) == 1


def test_mobilenet_v2_names():
    network = MobileNetV2(1.4)
    raw = {"Func/input/_262": np.zeros((1792, 5)), "predict/hub_input/Mul/y": np.float32(2)}
    for name, value in network.state_dict().items():
        layer, part = name.rsplit(".conv.", 1)
        layer = re.sub(r"^blocks\.(\d+)\.", r"expanded_conv_\1/", layer)
        layer = layer.replace("expanded_conv_0/", "expanded_conv/")
        path = f"predict/MobilenetV2/{ {'stem': 'Conv', 'last': 'Conv_1'}.get(layer, layer) }"
        depthwise = layer.endswith("depthwise")
        kind = "depthwise" if depthwise else "Conv2D"
        if part == "weight":
            raw[f"{path}/{kind}_weights"] = hwio(value, depthwise)
        else:
            raw[f"{path}/{kind}_bn_offset"] = value.numpy()
    state = convert_detectors.mobilenet_v2(raw)
    assert state.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(state[name], value)
