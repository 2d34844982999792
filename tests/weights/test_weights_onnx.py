import sys

import numpy as np
import pytest

from nrpurify.core.errors import MissingExtraError, WeightsError
from nrpurify.weights.read import reader_for


def test_without_onnx_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"nrpurify\[tasks\]"):
        reader_for("a.onnx")(tmp_path / "a.onnx")


def test_convolutions_are_read_in_the_order_of_the_graph(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    arrays = {
        "z": np.ones((2, 3, 1, 1), np.float32),
        "bias": np.arange(2, dtype=np.float32),
        "a": np.full((1, 2, 1, 1), 7, np.float32),
        "onnx::MatMul_1": np.eye(4, dtype=np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "z", "bias"], ["y"], name="first"),
            helper.make_node("Relu", ["y"], ["r"], name="relu"),
            helper.make_node("Conv", ["r", "a"], ["c"], name="second"),
            helper.make_node("MatMul", ["c", "onnx::MatMul_1"], ["out"], name="fc"),
        ],
        "two",
        [helper.make_tensor_value_info("x", 1, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("out", 1, [1, 1, 4, 4])],
        [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    read = reader_for("net.onnx")(tmp_path / "net.onnx")
    assert list(read)[:4] == ["first.weight", "first.bias", "second.weight", "fc.matrix"]
    assert set(read) - set(list(read)[:4]) == arrays.keys()
    assert np.array_equal(read["fc.matrix"], np.eye(4))
    assert np.array_equal(read["second.weight"], arrays["a"])


def test_a_broken_file_is_named(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match=r"net\.onnx is not a readable ONNX model"):
        reader_for("net.onnx")(tmp_path / "net.onnx")
