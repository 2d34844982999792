"""Running experiments into run folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from nrpurify.core.errors import InputError, NrpurifyError
from nrpurify.core.files import check_writable
from nrpurify.paper.bench import Bench
from nrpurify.paper.catalogue import get, names
from nrpurify.paper.compare import Row, paper_entries, side_by_side
from nrpurify.paper.experiment import SMOKE_WARNING, Experiment, Finding, Outcome
from nrpurify.paper.smoke import tiny_networks
from nrpurify.results import RUN_FILE, Run, read_run, write_run


@dataclass
class Result:
    """What came of an experiment.

    Attributes:
        experiment: Which one.
        run: As in ``run.json``.
        rows: The paper's numbers beside ours.
        findings: The paper's sentences beside ours.
        files: Plots in the run folder.
    """

    experiment: Experiment
    run: Run
    rows: list[Row]
    findings: list[Finding]
    files: list[str]


def run_experiment(name: str, bench: Bench) -> Result:
    """Run one table or figure into the bench's folder.

    The folder gets ``run.json`` with the paper's numbers under ``paper``, so that ``nrpurify
    report`` shows both side by side, and plots where the paper has some.

    Args:
        name: See :func:`nrpurify.paper.names`.
        bench: Scale, folder and data.

    Raises:
        InputError: No such experiment, data that it needs and that were not given, or a folder
            that holds another run.
        MissingExtraError: A package of an extra is not installed.
        WeightsError: Weights could not be found or downloaded, such as those of a hub at the scale
            full.
    """
    experiment = get(name)
    _check_folder(name, bench)
    with tiny_networks() if bench.scale == "smoke" else nullcontext():
        outcome = experiment.run(bench)
    if not {cell.victim for cell in outcome.run.cells} >= set(bench.victims):
        text = "--victim: this experiment attacks no classifiers that could be others"
        outcome.warn("left out", text)
    run = finished(experiment, bench, outcome)
    write_run(bench.out, run)
    rows = side_by_side(experiment, outcome)
    return Result(experiment, run, rows, outcome.findings, outcome.files)


def _check_folder(name: str, bench: Bench) -> None:
    """Refuse a folder that cannot be written to, or whose run another one would replace."""
    file = bench.out / RUN_FILE
    if file.exists():
        if not bench.resume:
            raise InputError(
                f"{str(bench.out)!r} holds a run; add --resume to go on with it, or name another "
                "folder"
            )
        held = read_run(bench.out).settings.get("paper")  # None: interrupted before its end
        if held and (held["experiment"], held["scale"]) != (name, bench.scale):
            raise InputError(
                f"{str(bench.out)!r} holds {held['experiment']} at the scale {held['scale']}, and "
                f"{name} at {bench.scale} would replace it; name another folder"
            )
    check_writable(file)


def finished(experiment: Experiment, bench: Bench, outcome: Outcome) -> Run:
    """The outcome's run with the paper's numbers, what was measured instead, and warnings."""
    warnings: list[Mapping[str, Any]] = list(outcome.run.warnings)
    if bench.scale == "smoke":
        warnings = [warning for warning in warnings if warning["kind"] == "left out"]
        warnings.insert(0, {"kind": "smoke", "text": SMOKE_WARNING, "cells": []})
    told = {
        "experiment": experiment.name,
        "scale": bench.scale,
        "measured": experiment.measured,
        "instead": experiment.instead[bench.scale],
        "findings": [{"claim": f.claim, "here": f.here} for f in outcome.findings],
        "files": outcome.files,
    }
    return replace(
        outcome.run,
        settings={**outcome.run.settings, "paper": told},
        warnings=warnings,
        paper=paper_entries(experiment, outcome),
    )


def run_all(bench: Bench, each: Callable[[Result], None]) -> dict[str, str]:
    """Run every experiment into a sub-folder of its own; one that fails stops no other.

    Args:
        bench: Its folder gets the sub-folders.
        each: Gets every result as soon as it is there.

    Returns:
        By name, why an experiment could not be run.
    """
    failed = {}
    for name in names():
        try:
            each(run_experiment(name, bench.at(bench.out / name)))
        except (NrpurifyError, OSError) as error:
            failed[name] = str(error)
    return failed
