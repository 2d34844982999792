"""Programs written to files: ONNX, OpenVINO and ``torch.export``'s own."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from nrpurify.core.errors import InputError, MissingExtraError, first_line
from nrpurify.core.files import atomic_path
from nrpurify.core.hashing import file_hash
from nrpurify.defenses.engines import (
    KEY,
    WEIGHTS_HASH,
    Array,
    import_openvino,
    onnx_hash,
    open_engine,
)

About = Mapping[str, Any]
Run = Callable[[Array], Array]
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
"""The ending of each format's file."""
_FEW = 64
"""Smaller weights stay as they are."""
_AXES = ("batch", "", "height", "width")


def find_format(path: Path, format: str | None) -> str:
    """The format that was asked for, or that a file's name implies.

    Raises:
        InputError: An unknown format, or a name of another one.
    """
    names = {suffix: name for name, suffix in SUFFIX.items()}
    found = format or names.get(path.suffix.lower(), "")
    if found not in SUFFIX:
        given = f"the format is {found!r}" if found else f"the file is {str(path)!r}"
        known = [f"{suffix} ({name})" for name, suffix in SUFFIX.items()]
        raise InputError(f"{given}; expected a name that ends in {' or '.join(known)}")
    if path.suffix.lower() != SUFFIX[found]:
        raise InputError(f"the file is {str(path)!r}; {found} needs a name in {SUFFIX[found]}")
    return found


@contextmanager
def written(
    program: ExportedProgram, path: Path, format: str, about: About, output: str
) -> Iterator[Run]:
    """Write a program beside ``path`` and yield what runs it; the block decides whether it stays.

    Args:
        program: Of open sizes.
        path: Takes the file when the block succeeds; else nothing is left.
        format: A key of :data:`SUFFIX`.
        about: The file's description of itself.
        output: Name of the output.

    Raises:
        InputError: The program cannot be written in this format.
        MissingExtraError: A library of the extra ``export`` is not installed.
        OSError: The file cannot be written.
    """
    if format == "openvino":
        with atomic_path(path) as temporary, atomic_path(path.with_suffix(".bin")) as weights:
            _save_openvino(program, temporary, weights, about, output)
            yield _linked(temporary, weights)
        return
    with atomic_path(path) as temporary:
        if format == "onnx":
            model = _with_hash(_to_onnx(program, about, output))
            temporary.write_bytes(model.SerializeToString())
            yield open_engine(temporary)
        else:
            with _silence():
                extra = {f"{KEY}.json": json.dumps(about)}
                torch.export.save(program, temporary, extra_files=extra)
            yield _open_program(temporary)


def _open_program(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(images: Array) -> Array:
        result: Array = module(torch.from_numpy(images)).numpy()
        return result

    return run


def _to_onnx(program: ExportedProgram, about: About, output: str) -> Any:
    """An ONNX model in memory, without traces of this machine."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "export") from error
    with _silence():
        try:
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=[output],
            )
        except Exception as error:  # operators that ONNX does not have
            raise InputError(f"it cannot be written as ONNX: {first_line(error)}") from error
    assert made is not None
    model = made.model_proto
    _tidy(model)
    if about.get("precision") == "fp16":
        model = _to_halves(model)
    else:
        _store_halves(model)
    model.producer_name, model.producer_version = "nrpurify", str(about["nrpurify"])
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(about)
    return model


def _with_hash(model: Any) -> Any:
    """An ONNX model that names the hash of its weights."""
    from onnx import helper

    texts = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**texts, WEIGHTS_HASH: onnx_hash(model)})
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _tidy(model: Any) -> None:
    """Take out the exporter's notes, and name the open axes."""
    graph = model.graph
    names = {
        axis.dim_param: name
        for axis, name in zip(graph.input[0].type.tensor_type.shape.dim, _AXES, strict=True)
        if axis.dim_param
    }
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = pattern.sub(lambda found: names[found[0]], axis.dim_param)
    for node in graph.node:
        del node.metadata_props[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]


_FP32_ONLY = ("Cast", "Clip", "Div", "Gemm", "ReduceSum", "Sigmoid")
"""Sums over an image overflow in half precision; the others cost nothing in fp32."""


def _to_halves(model: Any) -> Any:
    """Arithmetic in half precision, between an input and an output of float32."""
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_FP32_ONLY]
    with _silence():
        return float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)


def _store_halves(model: Any) -> None:
    """Store weights that are exact in half precision so: half the file, the same values."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _FEW:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _save_openvino(
    program: ExportedProgram, path: Path, weights: Path, about: About, output: str
) -> None:
    """OpenVINO's two files; the first one has the hash of the second."""
    openvino = import_openvino()
    model = openvino.Core().read_model(_to_onnx(program, about, output).SerializeToString())
    made = path.with_suffix(".bin")
    try:
        openvino.save_model(model, str(path), compress_to_fp16=False)
        described = {**about, WEIGHTS_HASH: file_hash(made)}
        model.set_rt_info(json.dumps(described), [KEY])
        openvino.save_model(model, str(path), compress_to_fp16=False)
        made.replace(weights)
    finally:
        made.unlink(missing_ok=True)


def _linked(path: Path, weights: Path) -> Run:
    """Open two temporary files under the names that belong together."""
    beside = path.with_suffix(".bin")
    beside.hardlink_to(weights)
    try:
        return open_engine(path)
    finally:
        beside.unlink()
