"""TensorFlow Lite files are built here table by table, with a writer of the same few rules."""

import struct

import numpy as np
import pytest
import torch

from nrpurify.core.errors import WeightsError
from nrpurify.weights import convert_bodies
from nrpurify.weights.read import reader_for


class Table:
    def __init__(self, **fields):
        self.fields = {int(name[1:]): value for name, value in fields.items()}


def vector(values, kind):
    return np.asarray(values, kind)


def write(out, value):
    """Append a table, a list of tables or an array to ``out``; return where it begins."""
    out.extend(bytes(-len(out) % 8))
    if isinstance(value, np.ndarray):
        out.extend(bytes(4))  # so that 8-byte values behind the count are aligned
        start = len(out)
        out.extend(struct.pack("<I", len(value)) + value.tobytes())
        return start
    if isinstance(value, list):
        start = len(out)
        out.extend(struct.pack("<I", len(value)) + bytes(4 * len(value)))
        for index, item in enumerate(value):
            place = start + 4 + 4 * index
            struct.pack_into("<I", out, place, write(out, item) - place)
        return start
    count = max(value.fields, default=-1) + 1
    vtable = len(out)
    out.extend(struct.pack("<HH", 4 + 2 * count, 4 + 4 * len(value.fields)) + bytes(2 * count))
    out.extend(bytes(-len(out) % 4))
    start = len(out)
    out.extend(struct.pack("<i", start - vtable) + bytes(4 * len(value.fields)))
    for index, (field, item) in enumerate(value.fields.items()):
        place = start + 4 + 4 * index
        struct.pack_into("<H", out, vtable + 4 + 2 * field, place - start)
        if isinstance(item, int):
            struct.pack_into("<i", out, place, item)
        else:
            struct.pack_into("<I", out, place, write(out, item) - place)
    return start


def tensor(shape, kind, buffer, quantization=None):
    fields = {"f0": vector(shape, "<i4"), "f1": kind, "f2": buffer}
    return Table(**fields, **({"f4": quantization} if quantization else {}))


def model():
    """A depthwise convolution in 8 bits and a matrix in floats, with an addition between."""
    kernel = np.arange(-9, 9, dtype=np.int8)
    scales = Table(
        f2=vector([0.5, 2.0], "<f4"), f3=vector([0, 1], "<i8"), f6=3
    )  # axis 3: the channels
    whole = Table(f2=vector([0.25], "<f4"), f3=vector([0], "<i8"))
    graph = Table(
        f0=[
            tensor([1, 3, 3, 2], 9, 1, scales),
            tensor([2], 2, 2, whole),
            tensor([2, 2], 0, 3),
        ],
        f3=[
            Table(f0=1, f1=vector([7, 0, 1], "<i4")),
            Table(f0=2, f1=vector([7, 7], "<i4")),
            Table(f1=vector([7, 2, -1], "<i4")),
        ],
    )
    buffers = [Table(), *(Table(f0=np.frombuffer(part.tobytes(), "u1")) for part in (
        kernel, np.array([4, -8], "<i4"), np.array([1, 2, 3, 4], "<f4")
    ))]  # fmt: skip
    codes = [Table(f0=9), Table(f3=4), Table(f0=0)]
    out = bytearray(4) + b"TFL3"
    struct.pack_into("<I", out, 0, write(out, Table(f1=codes, f2=[graph], f4=buffers)))
    return bytes(out), kernel


def test_weights_are_read_in_order_and_multiplied_by_their_scales(tmp_path):
    data, kernel = model()
    (tmp_path / "net.tflite").write_bytes(data)
    raw = reader_for("a/net.tflite")(tmp_path / "net.tflite")
    assert list(raw) == ["0.depthwise.weight", "0.depthwise.bias", "1.dense.weight"]
    stored = kernel.reshape(1, 3, 3, 2).astype(np.float32)
    np.testing.assert_array_equal(raw["0.depthwise.weight"], (stored - [0, 1]) * [0.5, 2])
    assert raw["0.depthwise.bias"].tolist() == [1, -2]
    assert raw["1.dense.weight"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("cut", [0, 6, 30, 200, -8])
def test_broken_files_are_named(tmp_path, cut):
    (tmp_path / "net.tflite").write_bytes(model()[0][:cut])
    with pytest.raises(WeightsError, match=r"net\.tflite is no readable TensorFlow Lite model"):
        reader_for("net.tflite")(tmp_path / "net.tflite")


def test_lite3_takes_the_graphs_layers_in_order():
    timm = pytest.importorskip("timm")
    network = timm.create_model("tf_efficientnet_lite3", pretrained=False)
    layers = list(convert_bodies._lite3_layers())
    convs = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert [conv for conv, _ in layers] == convs
    state, raw = network.state_dict(), {}
    for index, (conv, _) in enumerate(layers):
        kernel = state[f"{conv}.weight"].numpy()
        depthwise = kernel.shape[1] == 1 and kernel.shape[0] > 1 and "dw" in conv
        order, kind = ((1, 2, 3, 0), "depthwise") if depthwise else ((0, 2, 3, 1), "conv")
        raw[f"{index}.{kind}.weight"] = kernel.transpose(order)
        raw[f"{index}.{kind}.bias"] = np.full(len(kernel), index, np.float32)
    for part in ("weight", "bias"):
        raw[f"99.dense.{part}"] = state[f"classifier.{part}"].numpy()
    found = convert_bodies.efficientnet_lite3(raw)
    network.load_state_dict(found)
    assert all(torch.equal(found[f"{conv}.weight"], state[f"{conv}.weight"]) for conv in convs)
    norm = network.eval().bn1
    x = torch.rand(1, 32, 2, 2)
    with torch.no_grad():
        torch.testing.assert_close(norm(9 * x), (9 * x).clamp(0, 6))  # adds layer 0's bias, 0
    with pytest.raises(KeyError, match="classifier"):
        convert_bodies.efficientnet_lite3(dict(list(raw.items())[:-1]))
