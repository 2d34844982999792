"""Reading of weight files without running what they say."""

import io
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy._core.multiarray import _reconstruct

from nrpurify.core.errors import MissingExtraError, WeightsError
from nrpurify.core.torch_files import load_state
from nrpurify.weights.archive import extract_bounded
from nrpurify.weights.onnx import read_onnx
from nrpurify.weights.tfjs import read_tfjs, read_tfjs_script
from nrpurify.weights.tflite import read_tflite

_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}
_KERAS_MEMBER = "model.weights.h5"


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"the pickle asks for {module}.{name}; only plain numpy arrays are read"
            )
        return _ALLOWED[module, name]


def read_pickle(path: Path) -> Mapping[str, Any]:
    """Read a pickle of dicts, lists and numpy arrays; nothing else is admitted.

    Raises:
        WeightsError: the pickle asks for any other class or function, or is broken.
    """
    try:
        raw = _NumpyUnpickler(io.BytesIO(path.read_bytes())).load()
    except WeightsError:
        raise
    except Exception as error:  # a broken pickle may raise nearly anything
        raise WeightsError(f"{path.name} is not a readable pickle: {error}") from error
    if not isinstance(raw, dict):
        raise WeightsError(f"{path.name} holds a {type(raw).__name__}; expected a dict of arrays")
    return raw


def read_torch(path: Path) -> Mapping[str, Any]:
    """Read a PyTorch state dict with ``weights_only=True``.

    Raises:
        WeightsError: the file is broken or asks for more than tensors.
    """
    try:
        raw: Mapping[str, Any] = load_state(path)
    except (pickle.UnpicklingError, EOFError, RuntimeError, BadZipFile) as error:
        raise WeightsError(f"{path.name} is not a readable state dict: {error}") from error
    return raw


def _hdf5_reader() -> Callable[[Path], Mapping[str, Any]]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "models") from error

    def read(path: Path) -> Mapping[str, Any]:
        raw: dict[str, Any] = {}

        def keep(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                raw[name] = item[()]

        try:
            with h5py.File(path, "r") as file:
                file.visititems(keep)
        except OSError as error:
            raise WeightsError(f"{path.name} is not a readable HDF5 file: {error}") from error
        return raw

    return read


def _keras_reader() -> Callable[[Path], Mapping[str, Any]]:
    """Keras 3's archive: the HDF5 file inside is read, the description of the layers is not."""
    read_hdf5 = _hdf5_reader()

    def read(path: Path) -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / _KERAS_MEMBER
            extract_bounded(path, _KERAS_MEMBER, weights)
            return read_hdf5(weights)

    return read


def reader_for(member: str) -> Callable[[Path], Mapping[str, Any]]:
    """Return the reader for a file name: numpy pickle, PyTorch, HDF5, TensorFlow.js or ONNX.

    Raises:
        MissingExtraError: HDF5 is asked for and h5py is not installed.
        WeightsError: the suffix is not one of .ckpt, .pkl, .pth, .pt, .h5, .keras, .json, .js,
            .onnx, .tflite.
    """
    suffix = PurePosixPath(member).suffix
    if suffix in (".ckpt", ".pkl"):
        return read_pickle
    if suffix in (".pth", ".pt"):
        return read_torch
    if suffix == ".h5":
        return _hdf5_reader()
    if suffix == ".keras":
        return _keras_reader()
    if suffix == ".json":
        return read_tfjs
    if suffix == ".js":
        return read_tfjs_script
    if suffix == ".onnx":
        return read_onnx
    if suffix == ".tflite":
        return read_tflite
    raise WeightsError(
        f"cannot read {member!r}; expected a name in .ckpt, .pkl, .pth, .pt, .h5, .keras, .json, "
        ".js, .onnx or .tflite"
    )
