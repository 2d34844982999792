import os
import pickle
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nrpurify.core.errors import MissingExtraError, WeightsError
from nrpurify.weights import read, state_digest


class Gadget:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_hostile_pickle_is_refused_and_not_run(tmp_path, protocol):
    proof = tmp_path / "proof"
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps({"a": Gadget(os.system, f"touch {proof}")}, protocol))
    with pytest.raises(WeightsError, match="only plain numpy arrays"):
        read.read_pickle(file)
    assert not proof.exists()


@pytest.mark.parametrize("name", [b"numpy\nload", b"builtins\neval", b"numpy\nndarray.tofile"])
def test_other_globals_are_refused(tmp_path, name):
    file = tmp_path / "x.pkl"
    file.write_bytes(b"c" + name + b"\n.")
    with pytest.raises(WeightsError, match="only plain numpy arrays"):
        read.read_pickle(file)


@given(st.binary(max_size=60))
def test_garbage_never_escapes_as_another_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "garbage.pkl"
    file.write_bytes(data)
    with suppress(WeightsError):
        assert isinstance(read.read_pickle(file), dict)


def test_old_and_new_numpy_module_names(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = pickle.dumps({"a": [array]}, protocol=3)
    for old in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        file = tmp_path / "x.ckpt"
        file.write_bytes(data.replace(b"numpy._core.multiarray", old))
        assert np.array_equal(read.reader_for(file.name)(file)["a"][0], array)


def test_pickle_of_something_else(tmp_path):
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(WeightsError, match="holds a list"):
        read.read_pickle(file)


def test_torch_state_dict(tmp_path):
    file = tmp_path / "x.pth"
    torch.save({"a": torch.ones(2)}, file)
    assert torch.equal(read.reader_for("x.pth")(file)["a"], torch.ones(2))
    torch.save({"a": Gadget(os.system, "true")}, file)
    with pytest.raises(WeightsError, match="not a readable state dict"):
        read.read_torch(file)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "x.h5"
    with h5py.File(file, "w") as out:
        out["block/layer/kernel"] = np.ones((2, 2), np.float32)
    reader = read.reader_for("x.h5")
    assert list(reader(file)) == ["block/layer/kernel"]
    file.write_bytes(b"no")
    with pytest.raises(WeightsError, match="not a readable HDF5"):
        reader(file)


def test_hdf5_without_h5py(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"nrpurify\[models\]"):
        read.reader_for("x.h5")


def test_unknown_suffix():
    with pytest.raises(WeightsError, match=r"'x\.bin'"):
        read.reader_for("x.bin")


def test_digest_depends_on_names_shapes_and_values_only():
    a, b = torch.ones(2, 3), torch.zeros(4)
    digest = state_digest({"a": a, "b": b})
    assert digest == state_digest({"b": b, "a": a.t().contiguous().t()})
    changed = ({"a": a}, {"a": a, "c": b}, {"a": a.reshape(3, 2), "b": b}, {"a": a, "b": b + 1})
    assert digest not in {state_digest(state) for state in changed}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_digest_of_types_that_numpy_lacks(dtype):
    values = torch.ones(2, 3).to(dtype)
    digest = state_digest({"a": values, "b": torch.tensor(0.0).to(dtype)})
    assert digest == state_digest({"a": values.clone(), "b": torch.tensor(0.0).to(dtype)})
    others = (values.float(), values.reshape(3, 2), torch.zeros(2, 3).to(dtype))
    assert len({state_digest({"a": other}) for other in (values, *others)}) == 4
