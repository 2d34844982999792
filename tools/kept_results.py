"""Measurements as they are committed: a JSON file each, trimmed from run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nrpurify.results import RUN_FILE, read_run

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
KEY = ("attack", "label", "threat", "surrogate", "eps", "norm", "defense", "victim", "metric")
Cell = Mapping[str, Any]


def check_finished(folder: Path) -> None:
    """Refuse the folder of a run that was interrupted: a table of it would lack results.

    Raises:
        ValueError: The run is unfinished.
        InputError: There is no run.
    """
    if (folder / "certify.json").exists():
        return
    if (folder / "certificates.jsonl").exists():
        found = ["there is no certify.json"]
    elif (folder / "plan.yaml").exists() and not (folder / RUN_FILE).exists():
        found = ["no result is there"]
    else:
        run = read_run(folder)
        found = [warning["text"] for warning in run.warnings if warning["kind"] == "unfinished"]
    for text in found:
        raise ValueError(f"{str(folder)!r} holds an unfinished run: {text.partition(';')[0]}")


def trim(folders: Sequence[Path], pool: bool = False, note: str = "") -> dict[str, Any]:
    """What is committed of runs of ``nrpurify grid``, ``evaluate`` and ``paper``.

    These are plan, versions, hashes of weights, and one small record a cell.

    Args:
        folders: Run folders. Cells that are in several, and equal, are taken once.
        pool: The runs have other images each: right answers of equal cells are joined.
        note: A remark for the reader of the JSON.

    Raises:
        ValueError: Two cells differ in their value alone.
    """
    runs = [read_run(folder) for folder in folders]
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for folder, run in zip(folders, runs, strict=True):
        for result in run.cells:
            cell = _cell(folder, result)
            key = tuple(cell.get(name) for name in KEY)
            if key not in cells:
                cells[key] = cell
            elif pool:
                cells[key] = _joined(cells[key], cell)
            elif cells[key] != cell:
                named = " ".join(str(part) for part in key if part is not None)
                raise ValueError(
                    f"two results for {named}: give the attacks of the plan labels, or, if the "
                    "runs have other images each, --pool"
                )
    first = runs[0]
    paper = [
        {name: entry.get(name) for name in ("row", "column", "here", "cells")}
        for entry in first.paper
    ]
    if not paper:
        cells = {key: {n: v for n, v in cell.items() if n != "id"} for key, cell in cells.items()}
    shas = {name: sha for run in runs for name, sha in run.weights_sha256.items()}
    return {
        "kind": "run",
        "title": first.title,
        "note": note,
        "created": first.created[:10],
        "images": {
            "n": sum(run.images.get("n", 0) for run in runs) if pool else first.images.get("n"),
            "size": first.images.get("size"),
            "rule": first.images.get("rule"),
        },
        "precision": first.precision,
        "seed": first.seed,
        "versions": dict(first.versions),
        "weights_sha256": shas,
        "plan": _filled(first.settings),
        **({"paper": paper} if paper else {}),
        "cells": list(cells.values()),
    }


def trim_certificates(folder: Path, note: str = "") -> dict[str, Any]:
    """What is committed of ``nrpurify certify``: settings, certified accuracy, and each image's
    radius, 0 where the answer is wrong or none.
    """
    summary = json.loads((folder / "certify.json").read_text(encoding="utf-8"))
    settings = _filled(summary["settings"])
    radii = [r["radius"] if r["prediction"] == r["label"] else 0 for r in summary["rows"]]
    return {
        "kind": "certificates",
        "note": note,
        "settings": settings,
        "images": summary["images"],
        "abstained": summary["abstained"],
        "certified_accuracy": summary["certified_accuracy"],
        "rows": [round(radius, 4) for radius in radii],
    }


def _cell(folder: Path, result: Any) -> dict[str, Any]:
    names = ("steps", "draws", "rounding", "n", "precision")
    cell = {name: getattr(result, name) for name in ("id", *KEY, *names)}
    cell["value"] = round(result.value, 6)
    if result.interval:
        cell["interval"] = [round(end, 6) for end in result.interval]
    if not result.settings.get("in_mean", True):
        cell["in_mean"] = False
    file = folder / "cells" / f"{result.id}.json"
    hits = json.loads(file.read_text(encoding="utf-8")).get("hits") if file.exists() else None
    if isinstance(hits, str) and set(hits) <= {"0", "1"}:
        cell["hits"] = hits
    return {name: value for name, value in cell.items() if value not in (None, "")}


def _joined(one: Cell, other: Cell) -> dict[str, Any]:
    if "hits" not in one or "hits" not in other:
        raise ValueError(f"{one['attack']}: only results with right answers by image are pooled")
    hits = one["hits"] + other["hits"]
    kept = {name: value for name, value in one.items() if name != "interval"}
    return {**kept, "hits": hits, "n": len(hits), "value": round(hits.count("1") / len(hits), 6)}


def _filled(value: Any) -> Any:
    """Without empty parts, and folders by their last name alone."""
    if isinstance(value, Mapping):
        parts = {key: _filled(one) for key, one in value.items()}
        return {key: one for key, one in parts.items() if one not in (None, "", {}, [])}
    if isinstance(value, list | tuple):
        return [_filled(one) for one in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def write(name: str, content: Mapping[str, Any]) -> Path:
    """Write ``NAME.json``: a line for each part, and for each cell or row."""
    file = RESULTS / f"{name}.json"
    last = "cells" if "cells" in content else "rows"
    parts = [f"{json.dumps(key)}: {_dump(content[key])}" for key in content if key != last]
    rows = ",\n  ".join(_dump(one) for one in content[last])
    parts.append(f'"{last}": [\n  {rows}\n ]')
    file.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")
    _read.cache_clear()
    return file


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def load(name: str) -> dict[str, Any]:
    """The content of ``NAME.json``."""
    return _read(RESULTS / f"{name}.json")


@cache
def _read(file: Path) -> dict[str, Any]:
    """A page asks for values of one file many times; nobody changes what is returned."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
