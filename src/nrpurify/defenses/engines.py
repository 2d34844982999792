"""Exported files and the libraries that run them: ONNX by onnxruntime, OpenVINO by itself."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from nrpurify.core.errors import InputError, MissingExtraError, WeightsError, first_line
from nrpurify.core.hashing import file_hash

Array = np.ndarray[Any, np.dtype[Any]]
KEY = "nrpurify"
"""Under this name a file holds its description, a JSON object."""
WEIGHTS_HASH = "weights_sha256"
_WEIGHTS = re.compile(rb"weights_sha256&quot;: &quot;([0-9a-f]{64})")
SUFFIXES = (".onnx", ".xml")
"""Of the files that :func:`open_engine` takes; beside an ``.xml`` lies its ``.bin``."""


class Engine(Protocol):
    """One loaded file."""

    about: Mapping[str, Any]
    """What the file records about itself: see :func:`nrpurify.export.export`."""

    def __call__(self, images: Array) -> Array:
        """N×3×H×W float32 images in [0, 1] to the file's output; from any thread."""


def open_engine(path: str | Path, *, precision: Literal["f32", "bf16"] = "f32") -> Engine:
    """Load a file that ``nrpurify export`` wrote, for as many threads as torch has.

    Args:
        path: An ``.onnx`` file, or an ``.xml`` file of OpenVINO with its ``.bin`` beside it.
        precision: Of OpenVINO's arithmetic. An ONNX file is always computed in f32.

    Raises:
        InputError: Another kind of file.
        MissingExtraError: onnxruntime or openvino is not installed.
        WeightsError: The file is missing or damaged, or ``nrpurify export`` did not write it.
    """
    path = Path(path)
    kinds: dict[str, Callable[[Path], Engine]] = {
        ".onnx": _Onnx,
        ".xml": partial(_OpenVino, precision=precision),
    }
    if path.suffix.lower() not in kinds:
        raise InputError(f"{str(path)!r} is no exported file; expected one ending in .onnx or .xml")
    if not path.is_file():
        raise WeightsError(f"there is no file {str(path)!r}; write it by nrpurify export")
    try:
        return kinds[path.suffix.lower()](path)
    except (WeightsError, MissingExtraError):
        raise
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(
            f"{path} cannot be loaded: {first_line(error)}; export it again"
        ) from error


def _described(path: Path, text: str | None) -> Mapping[str, Any]:
    try:
        about = json.loads(text or "")
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("kind") not in ("purifier", "classifier"):
        raise _foreign(path)
    return about


def _foreign(path: Path) -> WeightsError:
    return WeightsError(f"{path} was not written by nrpurify export; export the purifier again")


class _Onnx:
    def __init__(self, path: Path) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(error.name or "onnxruntime", "export") from error
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        stored = model.graph.initializer
        if any(one.data_location == onnx.TensorProto.EXTERNAL for one in stored):
            raise WeightsError(f"{path} reads weights from other files; expected one file")
        texts = {entry.key: entry.value for entry in model.metadata_props}
        self.about = _described(path, texts.get(KEY))
        if texts.get(WEIGHTS_HASH) not in (None, onnx_hash(model)):  # None: of an older file
            raise WeightsError(
                f"{path} is damaged: its weights do not have the hash that it names; copy or "
                "export it again"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Array) -> Array:
        found: Array = self._session.run(None, {self._input: images})[0]
        return found


def onnx_hash(model: Any) -> str:
    """sha256 over names, types, shapes and bytes of an ONNX model's weights, as they lie in it."""
    from onnx import numpy_helper

    digest = hashlib.sha256()
    for weight in model.graph.initializer:
        digest.update(f"{weight.name} {weight.data_type} {tuple(weight.dims)}\n".encode())
        digest.update(numpy_helper.to_array(weight).tobytes())
    return digest.hexdigest()


class _OpenVino:
    def __init__(self, path: Path, precision: str) -> None:
        openvino = import_openvino()
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise WeightsError(f"{path} needs {weights.name} beside it; copy both files")
        expected = _WEIGHTS.search(path.read_bytes())
        if expected is None:
            raise _foreign(path)
        if file_hash(weights) != expected[1].decode():  # before OpenVINO reads them
            raise WeightsError(f"{weights} does not belong to {path.name}; copy both files again")
        core = openvino.Core()
        model = core.read_model(model=str(path), weights=str(weights))
        self.about = _described(path, model.get_rt_info([KEY]).value)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = core.compile_model(model, "CPU", settings)
        self._own = threading.local()  # a request serves one thread at a time

    def __call__(self, images: Array) -> Array:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found: Array = np.array(self._own.request.infer([images])[self._compiled.output(0)])
        return found


def import_openvino() -> Any:
    """The package openvino, which reports its use to a statistics service unless kept from it.

    Raises:
        MissingExtraError: It is not installed.
    """
    if "openvino" not in sys.modules:  # without its reporter openvino reports nothing
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise MissingExtraError("openvino", "export") from error
