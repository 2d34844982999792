"""One file for all sizes, with strength and gate inside, or none."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from nrpurify import load_classifier
from nrpurify.core.errors import InputError
from nrpurify.core.images import to_uint8
from nrpurify.defenses.checked import Checked
from nrpurify.export import ParityError, export
from nrpurify.export.parity import sample
from nrpurify.export.program import load_defense, trace
from nrpurify.purifiers import Purifier, Strength, save_purifier

from .conftest import SIZES

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
EXAMPLE = Path(__file__).parents[2] / "examples" / "purify_onnx.py"


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def test_one_file_serves_all_sizes(exported, purifier):
    assert [one.size for one in exported.parity] == list(SIZES)
    assert max(one.difference for one in exported.parity) <= 0.01
    assert exported.size == exported.path.stat().st_size
    for size in ((4, 33, 18), (1, 5, 9), (1, 1, 1)):
        images = sample(size)
        difference = run_onnx(exported.path, images) - purifier(images)
        assert 255 * difference.abs().max() <= 0.01


def test_the_gate_decides_in_the_file(exported, purifier):
    open_gate = Purifier(purifier.network, purifier.card, Strength(2, 1.5))
    images = sample((3, 40, 40))
    shares = purifier.gate(images, purifier._apply_network(images))
    assert shares.max() - shares.min() > 0.05
    assert 255 * (run_onnx(exported.path, images) - open_gate(images)).abs().max() > 1


def test_the_file_describes_itself(exported):
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["nrpurify"])
    assert about == exported.about
    (found,) = about["purifiers"]
    assert (found["card"]["name"], found["strength"], found["gate"]) == ("small", [2, 1.5], True)
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert b"/nrpurify/" not in exported.path.read_bytes(), "a path of this machine"


def test_exact_halves_are_stored_as_halves(exported, purifier):
    stored = {one.name: one for one in onnx.load(exported.path).graph.initializer}
    halves = sum(np.prod(one.dims) for one in stored.values() if one.data_type == FLOAT16)
    weights = [weight for weight in purifier.network.parameters() if weight.numel() >= 64]
    assert halves == sum(weight.numel() for weight in weights) > 5000
    floats = [one for one in stored.values() if one.data_type == FLOAT and np.prod(one.dims) >= 64]
    assert len(floats) == sum(weight.numel() >= 64 for weight in purifier.gate.parameters()) > 0


def test_the_example_runs_without_this_package(exported, purifier, tmp_path):
    picture = to_uint8(sample((1, 37, 29))[0]).permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(tmp_path / "in.png")
    command = [sys.executable, EXAMPLE, exported.path, tmp_path / "in.png", tmp_path / "out.png"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, check=True)
    assert done.stdout == "small [2.0, 1.5]\n"
    images = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    expected = to_uint8(purifier(images))[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png")) - expected).max() <= 1
    assert "torch" not in EXAMPLE.read_text()


def test_arithmetic_in_half_precision(purifier, quick_trace, tmp_path):
    made = export(purifier, tmp_path / "half.onnx", sizes=SIZES, precision="fp16")
    differences = [one.difference for one in made.parity]
    assert 0.01 < max(differences) < 1 == made.tolerance
    assert made.about["precision"] == "fp16"
    graph = onnx.load(made.path).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    convolved = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    kinds = {one.data_type for one in graph.initializer if one.name in convolved}
    assert kinds == {onnx.TensorProto.FLOAT16}
    large = run_onnx(made.path, torch.rand(1, 3, 900, 900))
    assert large.isfinite().all()  # no sum overflows


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x.onnx", {"precision": "int8"}, "int8 is not offered: it cost more than one point"),
        ("x.onnx", {"precision": "fp8"}, "'fp8'; expected one of fp32, fp16"),
        ("x.xml", {"precision": "fp16"}, "OpenVINO chooses its arithmetic"),
        ("x.onnx", {"precision": "fp16", "model": "alexnet"}, "is not measured; take fp32"),
    ],
)
def test_other_precisions_are_refused_in_words(purifier, tmp_path, name, options, message):
    with pytest.raises(InputError, match=message):
        export(purifier, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_an_error_and_is_not_left(onnx_model, purifier, tmp_path):
    weights = onnx_model.graph.initializer
    place = max(range(len(weights)), key=lambda k: len(weights[k].raw_data))
    changed = numpy_helper.to_array(weights[place]) * 1.05
    weights[place].CopyFrom(numpy_helper.from_array(changed, weights[place].name))
    old = tmp_path / "old.onnx"
    old.write_bytes(b"before")
    for path in (tmp_path / "new.onnx", old):
        with pytest.raises(ParityError, match=r"1×3×24×24: by [\d.e-]+/255; expected at most 0.01"):
            export(purifier, path, sizes=SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert old.read_bytes() == b"before"


def test_a_file_that_fails_on_a_size_is_an_error(onnx_model, purifier, tmp_path):
    onnx_model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ParityError, match="fails on images of 3×3×19×40"):
        export(purifier, tmp_path / "new.onnx", sizes=SIZES)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick_trace")
def test_pt2(purifier, tmp_path):
    made = export(purifier, tmp_path / "small.pt2", sizes=((3, 19, 40), (1, 20, 700)))
    extra = {"nrpurify.json": ""}
    program = torch.export.load(made.path, extra_files=extra).module()
    assert json.loads(extra["nrpurify.json"]) == made.about
    images = sample((2, 31, 22))
    torch.testing.assert_close(program(images), purifier(images))


def test_a_classifier_behind_it_returns_logits(purifier, tmp_path):
    code = """
import torch
from torch import nn

def build(classes=5):
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4 * 11 * 11, classes))
"""
    (tmp_path / "mine.py").write_text(code)
    model = f"{tmp_path}/mine.py:build:size=24,mean=0.4,std=0.3"
    made = export(purifier, tmp_path / "both.pt2", model=model, sizes=((1, 24, 24), (3, 50, 19)))
    assert made.about["kind"] == "classifier"
    assert made.about["model"]["name"].startswith("mine.py:build")
    images = sample((4, 61, 33))
    found = torch.export.load(made.path).module()(images)
    torch.testing.assert_close(found, load_classifier(model)(purifier(images)), atol=1e-4, rtol=0)


def test_a_model_of_one_size_has_to_name_it(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 70 * 75, 4))
    with pytest.raises(InputError, match=r"on images of 1×3×64×64: .*, as SPEC:size=224"):
        export("none", tmp_path / "no.pt2", model=model)
    assert not list(tmp_path.iterdir())


def test_a_defense_of_a_plug_in_is_traced_for_any_batch():
    smooth = Checked(nn.AvgPool2d(3, 1, 1, count_include_pad=False), "smooth", "a plug-in")
    _, program = trace(smooth, None)
    images = sample((3, 21, 40))
    torch.testing.assert_close(program.module()(images), smooth(images))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("jpeg", "JPEG works outside of torch"),
        ("median+tvm", "TVM works outside of torch"),
        ("rp", "RandomPad draws at random"),
        ("tiny:mode=dynamic", "DynamicPurifier draws at random"),
    ],
)
def test_other_defenses_are_refused(spec, why, tmp_path):
    with pytest.raises(InputError, match=f"cannot be exported: {why}.*expected a purifier"):
        export(spec, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_specs_with_strength(purifier, tmp_path):
    save_purifier(purifier, tmp_path / "p.safetensors")
    found = load_defense(f"{tmp_path}/p.safetensors:coarse=3,gate=false")
    assert found.strength.tolist() == [3, 1.5]
    assert found.gate is None
    images = sample((1, 20, 20))
    assert torch.equal(load_defense(purifier)(images), purifier(images))
    assert isinstance(load_defense("none"), nn.Identity)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("x.pth", None, r"x.pth'; expected a name that ends in .onnx \(onnx\) or .xml \(openvino"),
        ("x.onnx", "openvino", "openvino needs a name in .xml"),
        ("x.onnx", "tf", "the format is 'tf'"),
    ],
)
def test_names_say_the_format(purifier, tmp_path, name, format, message):
    with pytest.raises(InputError, match=message):
        export(purifier, tmp_path / name, format=format)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
@pytest.mark.parametrize("name", ["fast", "tiny:coarse=1,fine=1"])
def test_shipped_purifiers(name, suffix, tmp_path):
    made = export(name, tmp_path / f"p{suffix}")
    assert max(one.difference for one in made.parity) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_zoo_model_behind_a_shipped_purifier(suffix, tmp_path):
    made = export("tiny", tmp_path / f"p{suffix}", model="timm:resnet18:pretrained=false,size=96")
    assert max(one.difference for one in made.parity) <= 1e-3


def test_what_cannot_be_copied_is_refused():
    module = nn.Identity()
    module.lock = threading.Lock()
    with pytest.raises(InputError, match="'Identity' cannot be exported: it cannot be copied"):
        export(module, "x.onnx")
