"""The one reader of ``run.json``: schema 2, and schema 1 of nrpurify 0.1.0."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.results.result import SCHEMA, Result, Run

RUN_FILE = "run.json"
_NUMBER = (int, float)
_NEEDED = ("id", "attack", "threat", "defense", "victim", "value")
_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "attack": (str,),
    "threat": (str,),
    "defense": (str,),
    "victim": (str,),
    "value": _NUMBER,
    "task": (str,),
    "metric": (str,),
    "label": (str,),
    "surrogate": (str, NoneType),
    "eps": (*_NUMBER, NoneType),
    "norm": (str, NoneType),
    "steps": (int, NoneType),
    "draws": (int,),
    "interval": (list, NoneType),
    "n": (int, NoneType),
    "success": (*_NUMBER, NoneType),
    "conditional_success": (*_NUMBER, NoneType),
    "rounding": (str,),
    "precision": (str, NoneType),
    "seconds": (*_NUMBER, NoneType),
    "peak_memory_mb": (*_NUMBER, NoneType),
    "seed": (int, NoneType),
    "settings": (dict, NoneType),
    "notes": (list,),
}
_LISTS = ("warnings", "strips", "paper", "plugins")
_OBJECTS = ("images", "settings", "versions", "weights_sha256", "left_out")


def read_run(folder: str | Path) -> Run:
    """Read ``run.json`` in a run folder.

    Raises:
        InputError: There is none, or it is not what an evaluation writes.
    """
    return parse_run(load_run(folder))


def load_run(folder: str | Path) -> Any:
    """The JSON value in ``run.json``, unchecked.

    Raises:
        InputError: There is no such file, or it holds no JSON.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        raise InputError(
            f"no {RUN_FILE} in {str(folder)!r}; give the folder of an evaluation (nrpurify certify "
            "writes no report, but certify.svg)"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot report {str(path)!r}: it is no JSON: {error}") from error


def parse_run(raw: Any) -> Run:
    """The run in a JSON object; keys that are not known are left out.

    Raises:
        InputError: No cells, a newer schema, or a cell or another part that lacks something or
            holds another kind of value.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("cells"), list):
        raise InputError("it has no cells: expected an object with a list 'cells'")
    schema = raw.get("schema", 1)
    if schema not in (1, SCHEMA):
        raise InputError(
            f"it has the schema {schema!r}; expected 1 or {SCHEMA}: read it with the version of "
            "nrpurify that wrote it, or a newer one"
        )
    for key in _LISTS:
        check_objects(raw, key)
    for key in _OBJECTS:
        if not isinstance(raw.get(key) or {}, dict):
            raise InputError(f"{key} is {raw[key]!r}; expected an object")
    cells = tuple(read_result(values, f"cell {i}") for i, values in enumerate(raw["cells"]))
    known = {one.name for one in fields(Run)} - {"cells"}
    given = {key: value for key, value in raw.items() if key in known and value is not None}
    return Run(cells, **given)


def check_objects(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The list of objects under a key; empty when there is none.

    Raises:
        InputError: Something else is there.
    """
    found = raw.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError(f"{RUN_FILE}: {key} is no list of objects; see docs/evaluation.md")
    return found


def read_result(values: Any, where: str = "the cell") -> Result:
    """One result from a JSON object; keys that are not known are left out.

    Args:
        values: As ``run.json`` and the files in ``cells/`` hold it.
        where: Its place in errors.

    Raises:
        InputError: It lacks something, or holds another kind of value.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} is {values!r}; expected an object")
    if lacking := [name for name in _NEEDED if name not in values]:
        raise InputError(f"{where} lacks {', '.join(lacking)}")
    known = {name: value for name, value in values.items() if name in _KINDS}
    for name, value in known.items():
        if not isinstance(value, _KINDS[name]):
            expected = " or ".join(kind.__name__ for kind in _KINDS[name])
            raise InputError(f"{where}: {name} is {value!r}; expected {expected}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise InputError(f"{where}: {name} has {len(str(value))} digits; expected at most 308")
    _check_range(where, known)
    settings = dict(known.get("settings") or {})
    older = {"norm": None if known.get("eps") is None else "linf"}  # schema 1 had no other norm
    older["precision"] = settings.get("precision")
    return Result(**{**older, **known, "settings": settings})


def _check_range(where: str, values: Mapping[str, Any]) -> None:
    interval = values.get("interval")
    if interval is not None and len(interval) != 2:
        raise InputError(f"{where}: interval is {interval!r}; expected [low, high]")
    fractions = {"value": values["value"]}
    if values.get("eps") is not None and values.get("norm", "linf") == "linf":
        fractions["eps"] = values["eps"]
    fractions |= {f"interval[{i}]": end for i, end in enumerate(interval or ())}
    for name, value in fractions.items():
        if not (isinstance(value, _NUMBER) and 0 <= value <= 1):
            raise InputError(f"{where}: {name} is {value!r}; expected a number in [0, 1]")
