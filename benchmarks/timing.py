"""How all benchmarks measure: sides in turn after a warm-up, median and quartiles, one JSON."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nrpurify.core.precision import bf16_is_fast
from nrpurify.core.versions import environment as versions

RESULTS = Path(__file__).parent / "results"
Work = Callable[[], object]
"""What is timed. A float that it returns is its own measurement, in seconds."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side at least")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--full", action="store_true", help="more sizes and networks: hours")
    parser.add_argument("--out", type=Path, help="write the JSON here and not to results/")
    return parser


SHORT, MOST_RUNS = 10.0, 15
"""Seconds that the runs of a case may take beyond those asked for, and the most runs of a side."""


class Bench:
    """Collects rows and writes them with the environment."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        torch.set_num_threads(args.threads)
        self.name, self.repeats = name, args.repeats
        self.file = args.out or RESULTS / f"{name}.json"
        self.rows: list[dict[str, Any]] = []
        self.environment = environment(args.threads)
        print(json.dumps(self.environment))

    def row(
        self, case: str, sides: Mapping[str, Work], *, warm: bool = True, **facts: Any
    ) -> dict[str, Any]:
        """Time the sides of one case in turn; the first side is ours.

        Args:
            case: What is done, in words.
            sides: The work of each side, by name.
            warm: Run each side once before; not for work of minutes that loads all it needs.
            facts: What else is recorded, such as a final loss of each side.
        """
        times = in_turn(sides, self.repeats, warm=warm)
        row = {"case": case, "sides": {name: summary(taken) for name, taken in times.items()}}
        row |= {key: value() if callable(value) else value for key, value in facts.items()}
        self.rows.append(row)
        shown = (f"{name} {1000 * side['median']:.0f} ms" for name, side in row["sides"].items())
        print(f"{case}: {', '.join(shown)}", flush=True)
        return row

    def write(self) -> None:
        """Write the rows of this run, whole or not at all."""
        self.file.parent.mkdir(exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        found = {"benchmark": self.name, "environment": self.environment, "rows": self.rows}
        temporary.write_text(json.dumps(found, indent=1) + "\n")
        temporary.replace(self.file)


def write_table(
    name: str,
    title: str,
    columns: Mapping[str, int],
    rows: Sequence[Sequence[Any]],
    *,
    threads: int = 0,
    out: Path | None = None,
) -> None:
    """Write a table that ``tools/pages.py`` puts into a page, whole or not at all.

    Args:
        name: Of the file in ``results``.
        title: What was measured, and by which command.
        columns: Decimals of each column's numbers, by its heading.
        rows: Numbers and texts.
        threads: Of torch in this process; 0 where others did the work.
        out: The file, in place of one in ``results``.
    """
    heads = [{"name": name, "digits": digits} for name, digits in columns.items()]
    about = {"kind": "table", "title": title, "environment": environment(threads), "columns": heads}
    parts = [f"{json.dumps(key)}: {_line(value)}" for key, value in about.items()]
    parts.append('"rows": [\n  ' + ",\n  ".join(map(_line, rows)) + "\n ]")
    file = out or RESULTS / f"{name}.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")
    temporary.replace(file)
    print(file)


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def in_turn(
    sides: Mapping[str, Work], repeats: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of each run of each side: A B C, A B C ..., after one uncounted run if ``warm``.

    Short work is repeated more often, while all runs together take less than :data:`SHORT`: a
    machine's slow seconds would decide the median of three.
    """
    for work in sides.values() if warm else ():
        work()
    times: dict[str, list[float]] = {name: [] for name in sides}
    begun = time.perf_counter()
    while _goes_on(len(next(iter(times.values()))), repeats, time.perf_counter() - begun):
        for name, work in sides.items():
            gc.collect()
            start = time.perf_counter()
            found = work()
            taken = time.perf_counter() - start
            times[name].append(found if isinstance(found, float) else taken)
    return times


def _goes_on(runs: int, repeats: int, seconds: float) -> bool:
    return runs < repeats or (runs < MOST_RUNS and seconds < SHORT)


def summary(times: list[float]) -> dict[str, float]:
    """Median and quartiles in seconds, and the number of runs."""
    low, median, high = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else 3 * times
    )
    return {"median": median, "low": low, "high": high, "runs": len(times)}


def environment(threads: int) -> dict[str, Any]:
    """Machine and versions, and the load that the machine had before the first run."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        **versions(),
        "bf16": bf16_is_fast(torch.device("cpu")),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
