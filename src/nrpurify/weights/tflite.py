"""The weights of a TensorFlow Lite model: the few tables of its flatbuffer that hold them.

A flatbuffer is bytes with offsets: a table begins with the distance back to its vtable, which holds
for each field its place in the table, 0 for one that is left out. Field numbers are those of
TensorFlow's public schema (tensorflow/lite/schema/schema.fbs). Nothing is run.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nrpurify.core.errors import WeightsError

_TYPES = {0: "<f4", 2: "<i4", 3: "u1", 9: "i1"}
_OPERATORS = {3: "conv", 4: "depthwise", 9: "dense"}
_MODEL = {"codes": 1, "graphs": 2, "buffers": 4}
_GRAPH = {"tensors": 0, "operators": 3}
_TENSOR = {"shape": 0, "type": 1, "buffer": 2, "quantization": 4}
_QUANTIZATION = {"scale": 2, "zero": 3, "axis": 6}
_OPERATOR = {"code": 0, "inputs": 1}
_CODE = {"short": 0, "long": 3}


@dataclass(frozen=True)
class _Table:
    data: bytes
    start: int

    def place(self, field: int) -> int | None:
        """Where a field begins, None where it is left out."""
        vtable = self.start - self._read("<i", self.start)
        at = 4 + 2 * field
        if at >= self._read("<H", vtable):
            return None
        offset = self._read("<H", vtable + at)
        return self.start + offset if offset else None

    def _read(self, kind: str, place: int) -> int:
        if place < 0:
            raise struct.error("a place before the file's first byte")
        return int(struct.unpack_from(kind, self.data, place)[0])

    def number(self, field: int, kind: str) -> int:
        """A scalar, 0 where it is left out."""
        place = self.place(field)
        return 0 if place is None else self._read(kind, place)

    def table(self, field: int) -> _Table | None:
        """A table."""
        place = self.place(field)
        return None if place is None else _Table(self.data, place + self._read("<I", place))

    def _vector(self, field: int) -> tuple[int, int]:
        place = self.place(field)
        if place is None:
            return 0, 0
        start = place + self._read("<I", place)
        return start + 4, self._read("<I", start)

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._vector(field)
        places = (start + 4 * k for k in range(count))
        return [_Table(self.data, place + self._read("<I", place)) for place in places]

    def values(self, field: int, kind: str) -> npt.NDArray[Any]:
        """A vector of scalars."""
        start, count = self._vector(field)
        return np.frombuffer(self.data, kind, count, start)


def _values(model: _Table, tensor: _Table) -> npt.NDArray[np.float32]:
    """A stored tensor as floats: (stored - zero point) times scale, along the quantized axis."""
    buffer = model.tables(_MODEL["buffers"])[tensor.number(_TENSOR["buffer"], "<I")]
    kind = _TYPES[tensor.number(_TENSOR["type"], "<b")]
    shape = tuple(tensor.values(_TENSOR["shape"], "<i4"))
    stored = np.frombuffer(buffer.values(0, "u1").tobytes(), kind).reshape(shape)
    quantization = tensor.table(_TENSOR["quantization"])
    if quantization is None:
        return stored.astype(np.float32)
    scale = quantization.values(_QUANTIZATION["scale"], "<f4")
    if not len(scale):
        return stored.astype(np.float32)
    zero = quantization.values(_QUANTIZATION["zero"], "<i8")
    wide = [1] * len(shape)
    if len(scale) > 1:
        wide[quantization.number(_QUANTIZATION["axis"], "<i")] = len(scale)
    shifted = stored.astype(np.float64) - np.reshape(zero if len(zero) else 0, wide)
    values: npt.NDArray[np.float32] = (shifted * np.reshape(scale, wide)).astype(np.float32)
    return values


def read_tflite(path: Path) -> Mapping[str, Any]:
    """Read the convolutions and matrices of a TensorFlow Lite model, in the order of its graph.

    Returns:
        Float arrays by ``K.KIND.weight`` and ``K.KIND.bias`` for the K-th of these operators; KIND
        is ``conv`` (outputs×height×width×inputs), ``depthwise`` (1×height×width×channels) or
        ``dense`` (outputs×inputs). 8-bit weights are multiplied by their scales.

    Raises:
        WeightsError: The file is no readable TensorFlow Lite model.
    """
    data = path.read_bytes()
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("its bytes 4 to 8 are not TFL3")
        model = _Table(data, struct.unpack_from("<I", data)[0])
        kinds = [
            max(code.number(_CODE["short"], "<b"), code.number(_CODE["long"], "<i"))
            for code in model.tables(_MODEL["codes"])
        ]
        graph = model.tables(_MODEL["graphs"])[0]
        tensors = graph.tables(_GRAPH["tensors"])
        raw: dict[str, Any] = {}
        count = 0
        for operator in graph.tables(_GRAPH["operators"]):
            kind = _OPERATORS.get(kinds[operator.number(_OPERATOR["code"], "<I")])
            if kind is None:
                continue
            inputs = operator.values(_OPERATOR["inputs"], "<i4")
            for part, index in zip(("weight", "bias"), inputs[1:], strict=False):
                if index >= 0:
                    raw[f"{count}.{kind}.{part}"] = _values(model, tensors[index])
            count += 1
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise WeightsError(f"{path.name} is no readable TensorFlow Lite model: {error}") from error
    return raw
