"""Results and runs of experiments that are not grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from nrpurify.evaluation.provenance import provenance
from nrpurify.paper.bench import Bench
from nrpurify.paper.provenance import Data, Measured, joined
from nrpurify.results import Estimate, Result, Run, result_id, share


def result(bench: Bench, found: Estimate, decides: Mapping[str, Any], **known: Any) -> Result:
    """A result with the usual values where nothing else is ``known``.

    Args:
        bench: Its scale and seed decide the value too.
        found: Value, interval and n.
        decides: Hashes of images and weights, and further settings that decide the value.
        known: Other fields of :class:`nrpurify.results.Result`.
    """
    facts: dict[str, Any] = {
        **{"attack": "clean", "threat": "none", "defense": "none", "victim": ""},
        **{"metric": "accuracy", "seed": bench.seed, "precision": "fp32"},
        **known,
    }
    facts["norm"] = None if facts.get("eps") is None else "linf"
    decided = {**facts, "scale": bench.scale, "decides": dict(decides), "n": found.n}
    return Result(
        id=result_id(decided),
        value=found.value,
        interval=(found.low, found.high),
        n=found.n,
        **facts,
    )


def accuracy(bench: Bench, hits: Tensor, decides: Mapping[str, Any], **known: Any) -> Result:
    """The accuracy of N booleans of right answers, see :func:`result`."""
    found = share(hits.tolist())
    return replace(result(bench, found, decides, **known), success=1 - found.value)


def run_of(
    bench: Bench,
    name: str,
    title: str,
    cells: Sequence[Result],
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
    return Run(
        tuple(cells),
        name=name,
        title=title,
        images=joined(data) if data else {},
        settings=dict(settings),
        weights_sha256=dict(weights),
        **provenance(seed=bench.seed, device=bench.device) | {"precision": _precision(settings)},
    )


def with_measured(run: Run, parts: Sequence[Measured]) -> Run:
    """The run with further results and all that decided them, in ``settings.parts``."""
    before = [Data(**run.images)] if run.images else []
    weights = dict(run.weights_sha256)
    for part in parts:
        weights |= part.weights
    records = [part.record() for part in parts]
    return replace(
        run,
        cells=(*run.cells, *(cell for part in parts for cell in part.cells)),
        images=joined([*before, *(part.data for part in parts)]),
        settings={**run.settings, "parts": records},
        precision=_precision([run, records]),
        weights_sha256=weights,
    )


def _precision(settings: object) -> str:
    """All arithmetic used: fp32, and bf16 where some ``precision`` in the settings names it."""
    return " and ".join(sorted({"fp32", *" and ".join(_named(settings)).split(" and ")} - {""}))


def _named(values: object) -> Iterator[str]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            if name == "precision" and value:
                yield str(value)
            yield from _named(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _named(value)
