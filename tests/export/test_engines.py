"""Exported files as defenses."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import onnx
import pytest
import torch
from torch import nn

from nrpurify import defenses, load_purifier, protect
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.defenses.engines import open_engine
from nrpurify.export import export
from nrpurify.export.parity import sample
from nrpurify.weights import weights_hash

CLOSE = {"atol": 0.01 / 255, "rtol": 0}


@pytest.fixture
def images():
    return sample((2, 23, 30))


def test_protect_takes_the_file(exported, purifier, images):
    expected = purifier(images)
    for given in (exported.path, str(exported.path)):
        torch.testing.assert_close(protect(nn.Identity(), given)(images), expected, **CLOSE)
    defense = defenses.make(f"median+{exported.path}")
    median = defenses.make("median")
    torch.testing.assert_close(defense(images), purifier(median(images)), **CLOSE)
    assert not defenses.get(str(exported.path)).info["differentiable"]


def test_it_copies_travels_and_is_hashed(exported, images, tmp_path, monkeypatch):
    monkeypatch.chdir(exported.path.parent)
    defense = defenses.make(exported.path.name)
    expected = defense(images)
    monkeypatch.chdir(tmp_path)
    for other in (copy.deepcopy(defense), pickle.loads(pickle.dumps(defense))):
        assert torch.equal(other(images), expected)
    model = onnx.load(exported.path)
    model.doc_string = "changed"
    onnx.save(model, tmp_path / "changed.onnx")
    changed = defenses.make(str(tmp_path / "changed.onnx"))
    assert weights_hash("x", changed) != weights_hash("x", defense)


def test_openvino_has_two_files_that_belong_together(onnx_model, purifier, images, tmp_path):
    made = export(purifier, tmp_path / "p.xml", sizes=((3, 19, 40), (1, 20, 700)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.bin", "p.xml"]
    defense = defenses.make(str(made.path))
    assert defense.about["purifiers"] == made.about["purifiers"]
    torch.testing.assert_close(defense(images), purifier(images), **CLOSE)
    assert sys.modules["openvino_telemetry"] is None, "openvino reports its use"
    several = [sample((1, 20 + k, 20)) for k in range(16)]
    with ThreadPoolExecutor(4) as threads:
        for found, given in zip(threads.map(defense, several), several, strict=True):
            torch.testing.assert_close(found, purifier(given), **CLOSE)
    weights = tmp_path / "p.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(WeightsError, match=r"p.bin does not belong to p.xml"):
        defenses.make(str(made.path))
    weights.unlink()
    with pytest.raises(WeightsError, match=r"needs p.bin beside it"):
        defenses.make(str(made.path))


def test_openvino_is_loaded_without_its_reporter():
    code = (
        "from nrpurify.defenses.engines import import_openvino as load; load(); import sys;"
        "print(any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def external(model):
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def foreign(model):
    del model.metadata_props[:]


def with_a_model(model):
    model.metadata_props[0].value = model.metadata_props[0].value.replace(
        '"kind": "purifier"', '"kind": "classifier"'
    )


def damaged(model):
    weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    weight.raw_data = weight.raw_data[:-1] + bytes([weight.raw_data[-1] ^ 64])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, "p.onnx is damaged: its weights do not have the hash that it names"),
        (external, "reads weights from other files"),
        (foreign, "was not written by nrpurify export"),
        (with_a_model, "holds a purifier and a classifier"),
    ],
)
def test_other_files_are_refused(exported, tmp_path, change, message):
    model = onnx.load(exported.path)
    change(model)
    path = tmp_path / "p.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=message):
        defenses.make(str(path))


def test_broken_files_are_refused(exported, tmp_path):
    path = tmp_path / "p.onnx"
    path.write_bytes(exported.path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"p.onnx cannot be loaded: .*; export it again"):
        defenses.make(str(path))
    with pytest.raises(WeightsError, match=r"there is no file"):
        open_engine(tmp_path / "none.onnx")
    with pytest.raises(InputError, match=r"expected one ending in .onnx or .xml"):
        open_engine(tmp_path / "p.pt2")
    with pytest.raises(InputError, match=r"exported file, which is a defense: give it to protect"):
        load_purifier(path)
