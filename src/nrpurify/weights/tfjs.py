"""The weights of a TensorFlow.js model: a JSON manifest beside raw binary shards."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nrpurify.errors import WeightsError

_STORED = ("float32", "int32", "bool", "uint8", "uint16", "float16")
_GIVEN = ("float32", "int32", "bool")
Arrays = dict[str, npt.NDArray[Any]]


def _shards(manifest: Path, names: list[str]) -> bytes:
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"{manifest.name} names the shard {name!r}; expected a bare name")
    return b"".join((manifest.parent / name).read_bytes() for name in names)


def _type(entry: Mapping[str, Any]) -> np.dtype[Any]:
    """The type in which the shards hold this array; smaller than its own if quantized."""
    name = entry.get("quantization", entry)["dtype"]
    if name not in _STORED or entry["dtype"] not in _GIVEN:
        raise WeightsError(f"{entry['name']!r} is stored as {name}; expected one of {_STORED}")
    stored: np.dtype[Any] = np.dtype(name).newbyteorder("<")
    return stored


def _dequantize(values: npt.NDArray[Any], entry: Mapping[str, Any]) -> npt.NDArray[Any]:
    scale = entry.get("quantization", {}).get("scale")
    if scale is not None:
        values = values.astype(np.float32) * scale + entry["quantization"]["min"]
    return values.astype(entry["dtype"])


def _split(data: bytes, entries: list[Mapping[str, Any]]) -> Arrays:
    arrays: Arrays = {}
    offset = 0
    for entry in entries:
        stored, count = _type(entry), math.prod(entry["shape"])
        end = offset + count * stored.itemsize
        if end > len(data):
            raise WeightsError(f"the shards end at byte {len(data)}, inside {entry['name']!r}")
        values = np.frombuffer(data[offset:end], stored).reshape(entry["shape"])
        arrays[entry["name"]] = _dequantize(values, entry)
        offset = end
    if offset != len(data):
        raise WeightsError(f"the shards hold {len(data)} bytes; the manifest names {offset}")
    return arrays


def read_tfjs(path: Path) -> Mapping[str, Any]:
    """Read the arrays of a TensorFlow.js ``model.json``, whose shards lie beside it.

    Arrays that were stored as float16 or, with a scale, as uint8 or uint16 become float32. The
    graph itself is not read.

    Raises:
        WeightsError: the manifest is broken, a shard is absent, or their sizes do not fit.
    """
    arrays: Arrays = {}
    try:
        for group in json.loads(path.read_bytes())["weightsManifest"]:
            arrays |= _split(_shards(path, group["paths"]), group["weights"])
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{path.name} is not a readable model: {error!r}") from error
    return arrays
