"""ONNX files as victims: scores, gradients, settings, and files that cannot be used."""

import numpy as np
import pytest
import torch
from torch import nn

from nrpurify import attacks, load_classifier, protect
from nrpurify.core.errors import InputError
from nrpurify.models import onnx as onnx_module
from nrpurify.weights import weights_hash

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2pytorch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operations, which no converter knows."""


def network():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).eval()


def save(path, *, batch="n", height="h", width="w", last=False, extra=(), external=None, op=None):
    """The network's graph as a file; ``op`` stands before its last layer."""
    model = network()
    state = {name.replace(".", "_"): value.numpy() for name, value in model.state_dict().items()}
    weights = [numpy_helper.from_array(value, name) for name, value in state.items()]
    if external:
        onnx.external_data_helper.set_external_data(weights[0], external)
        (path.parent / external).write_bytes(weights[0].raw_data)
        weights[0].ClearField("raw_data")
    nodes = [
        helper.make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])
        if last
        else helper.make_node("Identity", ["images"], ["x"]),
        helper.make_node("Conv", ["x", "0_weight", "0_bias"], ["conv"], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node(op or "Identity", ["flat"], ["features"], domain=MICROSOFT if op else ""),
        helper.make_node("Gemm", ["features", "4_weight", "4_bias"], ["scores"], transB=1),
    ]
    shape = [batch, height, width, 3] if last else [batch, 3, height, width]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 5]),
            *(helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 4]) for n in extra),
        ],
        weights,
    )
    known = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_model(graph, opset_imports=known, ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "shape",
    [{}, {"batch": 1}, {"batch": 2}, {"last": True}, {"height": 16, "width": 16, "batch": 1}],
    ids=str,
)
def test_scores_and_gradients_are_the_network_s(tmp_path, shape, images):
    victim = load_classifier(str(save(tmp_path / "small.onnx", **shape)))
    model = network()
    with torch.no_grad():
        torch.testing.assert_close(victim(images), model(images), rtol=1e-5, atol=1e-6)
    found, expected = (images.clone().requires_grad_() for _ in range(2))
    nn.functional.cross_entropy(victim(found), torch.tensor([0, 1, 2])).backward()
    nn.functional.cross_entropy(model(expected), torch.tensor([0, 1, 2])).backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-7)
    assert victim.num_classes == 5
    assert victim.input_size == (16 if "height" in shape else None)


def test_attacks_by_gradients_and_by_scores(tmp_path, images):
    victim = load_classifier(f"onnx:{save(tmp_path / 'small.onnx')}")
    model = network()
    labels = model(images).argmax(1)
    options = {"eps": 8 / 255, "steps": 3, "start": "clean"}
    found = attacks.pgd(victim, images, labels, **options)
    expected = attacks.pgd(model, images, labels, **options)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    made = attacks.square(victim, images, labels, eps=0.3, steps=5)
    assert made.shape == images.shape
    assert protect(victim, "jpeg:quality=75")(images).shape == (3, 5)


def test_gradients_under_autocast(tmp_path, images, monkeypatch):
    """The conversion is judged in fp32: bf16 alone is further away than it may be."""
    monkeypatch.setattr(onnx_module, "AGREEMENT", 1e-6)
    victim = load_classifier(str(save(tmp_path / "small.onnx")))
    point = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert victim(point).dtype == torch.float32
        victim(point).float().sum().backward()
    assert point.grad.abs().sum() > 0


def test_settings_of_a_spec(tmp_path, images):
    file = save(tmp_path / "small.onnx")
    victim = load_classifier(f'{file}:mean="0.1,0.2,0.3",std=0.5,size=16,bgr=true')
    mean = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    expected = network()((images.flip(1) - mean) / 0.5)
    with torch.no_grad():
        torch.testing.assert_close(victim(images), expected, rtol=1e-5, atol=1e-6)
        assert victim(torch.rand(1, 3, 40, 30)).shape == (1, 5)


def test_one_of_several_outputs(tmp_path, images):
    file = save(tmp_path / "small.onnx", extra=("features",))
    with pytest.raises(InputError, match=r"returns scores n×5, features n×4; .* as output=NAME"):
        load_classifier(str(file))
    victim = load_classifier(f"{file}:output=features")
    assert victim(images).shape == (3, 4)
    point = images.clone().requires_grad_()
    victim(point).sum().backward()
    assert point.grad.abs().sum() > 0


def test_hashes_are_those_of_the_files(tmp_path, images):
    first = load_classifier(str(save(tmp_path / "a.onnx")))
    before = weights_hash("a.onnx", first)
    attacks.fgsm(first, images)
    assert weights_hash("a.onnx", first) == before
    other = load_classifier(str(save(tmp_path / "b.onnx", batch=1)))
    assert weights_hash("b.onnx", other) != before


def test_weights_in_a_file_beside_it(tmp_path, images):
    victim = load_classifier(str(save(tmp_path / "a.onnx", external="a.data")))
    with torch.no_grad():
        torch.testing.assert_close(victim(images), network()(images), rtol=1e-5, atol=1e-6)
    before = weights_hash("a", victim)
    point = images.clone().requires_grad_()
    victim(point).sum().backward()
    data = np.frombuffer((tmp_path / "a.data").read_bytes(), np.float32)
    (tmp_path / "a.data").write_bytes((2 * data).tobytes())
    assert weights_hash("a", load_classifier(str(tmp_path / "a.onnx"))) != before


def test_weights_outside_of_its_folder_are_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    file = save(tmp_path / "in" / "a.onnx", external="../a.data")
    with pytest.raises(InputError, match="outside of its own folder"):
        load_classifier(str(file))


def test_weights_of_nodes_outside_of_its_folder_are_not_read_either(tmp_path):
    (tmp_path / "in").mkdir()
    file = save(tmp_path / "in" / "a.onnx")
    model = onnx.load(str(file))
    tensor = numpy_helper.from_array(torch.zeros(4).numpy(), "c")
    onnx.external_data_helper.set_external_data(tensor, "../c.data")
    (tmp_path / "c.data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=tensor))
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside of its own folder"):
        load_classifier(str(file))


def test_a_graph_that_cannot_be_converted_has_scores_only(tmp_path, images):
    victim = load_classifier(str(save(tmp_path / "a.onnx", op="QuickGelu")))
    with torch.no_grad():
        assert victim(images).shape == (3, 5)
    with pytest.raises(InputError, match=r"a\.onnx cannot be converted, so no gradient .* square"):
        attacks.pgd(victim, images, torch.tensor([0, 1, 2]))
    assert attacks.square(victim, images, torch.tensor([0, 1, 2]), steps=3).shape == images.shape


def test_a_conversion_that_answers_otherwise_is_refused(tmp_path, images, monkeypatch):
    class Wrong:
        @staticmethod
        def ConvertModel(model, experimental):  # noqa: N802
            return nn.Sequential(network(), nn.Tanh())

    monkeypatch.setattr(onnx_module, "_converter", lambda: Wrong)
    victim = load_classifier(str(save(tmp_path / "a.onnx")))
    with pytest.raises(InputError, match=r"scores are .* away from onnxruntime's"):
        victim(4 * images.clone().requires_grad_() / 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"no graph"), "is not a readable ONNX model"),
        (lambda p: None, "there is no file"),
        (lambda p: save(p, height=16, width=20), "takes images of 16×20; expected square ones"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, make, message):
    make(tmp_path / "a.onnx")
    with pytest.raises(InputError, match=message):
        load_classifier(str(tmp_path / "a.onnx"))


def test_a_size_that_the_file_does_not_take(tmp_path, images):
    victim = load_classifier(f"{save(tmp_path / 'a.onnx', height=16, width=16)}:size=20")
    with pytest.raises(InputError, match="takes images of 16×16 pixels and was given 20×20"):
        victim(images)
