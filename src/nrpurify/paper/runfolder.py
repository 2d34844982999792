"""Run folders of experiments that are no grid: the same ``run.json``, so the same report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from nrpurify.core.hashing import digest, slug
from nrpurify.core.versions import environment, recorded_plugins
from nrpurify.evaluation import wilson_interval
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Cell, Run
from nrpurify.paper.provenance import Data, Measured, joined


def cell(bench: Bench, value: float, **known: Any) -> Cell:
    """A cell with the usual values where nothing else is ``known``.

    Args:
        bench: Its seed is noted.
        value: In [0, 1].
        known: Other keys of a cell.
    """
    made: Cell = {
        "task": "classify",
        "attack": "clean",
        "surrogate": None,
        "eps": None,
        "steps": None,
        "threat": "none",
        "draws": 1,
        "defense": "none",
        "victim": "",
        "metric": "accuracy",
        "value": value,
        "interval": None,
        "n": None,
        "success": None,
        "conditional_success": None,
        "rounding": "float",
        "seconds": None,
        "peak_memory_mb": None,
        "seed": bench.seed,
        "settings": {},
        "notes": [],
        **known,
    }
    name = slug(made["attack"], made["threat"], made["defense"], made["victim"])
    return {"id": f"{name}-{digest(made)[:10]}", **made}


def accuracy_cell(bench: Bench, hits: Tensor, **known: Any) -> Cell:
    """A cell of accuracy from N booleans of right answers."""
    right, total = int(hits.sum()), len(hits)
    value = right / total
    interval = list(wilson_interval(right, total))
    return cell(bench, value, interval=interval, n=total, success=1 - value, **known)


def run_of(
    bench: Bench,
    name: str,
    title: str,
    cells: Sequence[Cell],
    *,
    data: Sequence[Data],
    weights: Mapping[str, str],
    settings: Mapping[str, Any],
) -> Run:
    """What ``run.json`` holds.

    Args:
        bench: Its seed is noted.
        name: Of the experiment.
        title: For people.
        cells: What was measured.
        data: On what; none when it is added later.
        weights: sha256 of all weights in use, by name.
        settings: What else decided it, as plain values.
    """
    return {
        "name": name,
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": joined(data) if data else {},
        "settings": dict(settings),
        "versions": environment(bench.device),
        **recorded_plugins(),
        "weights_sha256": dict(weights),
        "seed": bench.seed,
        "precision": _precision(settings),
        "cells": list(cells),
        "warnings": [],
        "strips": [],
    }


def add_measured(run: Run, parts: Sequence[Measured]) -> None:
    """Add cells with all that decided them to a run; ``settings.parts`` tells them apart."""
    before = [Data(**run["images"])] if run["images"] else []
    run["images"] = joined([*before, *(part.data for part in parts)])
    run["settings"]["parts"] = [part.record() for part in parts]
    run["precision"] = _precision([run, run["settings"]["parts"]])
    for part in parts:
        run["cells"] += part.cells
        run["weights_sha256"] |= part.weights


def _precision(settings: object) -> str:
    """All arithmetic used: fp32, and bf16 where some ``precision`` in the settings names it."""
    return " and ".join(sorted({"fp32", *" and ".join(_named(settings)).split(" and ")} - {""}))


def _named(values: object) -> Iterator[str]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            if name == "precision":
                yield str(value)
            yield from _named(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _named(value)
