"""The weights of a TensorFlow.js model: a manifest beside shards, plain or packed in scripts."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nrpurify.core.errors import WeightsError

_STORED = ("float32", "int32", "bool", "uint8", "uint16", "float16")
_GIVEN = ("float32", "int32", "bool")
Arrays = dict[str, npt.NDArray[Any]]


def _bare(manifest: Path, name: str) -> Path:
    if Path(name).name != name:
        raise WeightsError(f"{manifest.name} names the shard {name!r}; expected a bare name")
    return manifest.parent / name


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


def _read(
    path: Path, groups: Callable[[str], list[Any]], shard: Callable[[Path], bytes]
) -> Mapping[str, Any]:
    arrays: Arrays = {}
    try:
        for group in groups(path.read_text(encoding="utf-8")):
            data = b"".join(shard(_bare(path, name)) for name in group["paths"])
            arrays |= _split(data, group["weights"])
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{path.name} is not a readable model: {error!r}") from error
    return arrays


def read_tfjs(path: Path) -> Mapping[str, Any]:
    """Read the arrays of a TensorFlow.js ``model.json``, whose shards lie beside it.

    Arrays that were stored as float16 or, with a scale, as uint8 or uint16 become float32. The
    graph itself is not read.

    Raises:
        WeightsError: the manifest is broken, a shard is absent, or their sizes do not fit.
    """
    return _read(path, lambda text: list(json.loads(text)["weightsManifest"]), Path.read_bytes)


def read_tfjs_script(path: Path) -> Mapping[str, Any]:
    """Read the same from a ``model.min.js`` with ``SHARD.min.js`` beside it; no script is run.

    A bundler turned the manifest into an object literal and the shards into base64 in quotes.

    Raises:
        WeightsError: as for :func:`read_tfjs`, or a script holds no manifest or no such string.
    """
    return _read(
        path, _literal_groups, lambda shard: _quoted(shard.with_name(f"{shard.name}.min.js"))
    )


def _literal_groups(script: str) -> list[Any]:
    _, mark, rest = script.partition("weightsManifest:")
    if not mark:
        raise WeightsError("the script holds no weightsManifest")
    rest = re.sub(r"([{,])(\w+):", r'\1"\2":', rest)
    rest = re.sub(r"([:,\[]-?)\.", r"\g<1>0.", rest)
    groups, _ = json.JSONDecoder().raw_decode(rest)
    return list(groups)


def _quoted(script: Path) -> bytes:
    """The longest thing in quotes."""
    strings = re.findall(r'"([A-Za-z0-9+/=]+)"', script.read_text(encoding="utf-8"))
    return base64.b64decode(max(strings, key=len), validate=True)
