"""A plan at work: its results one after another, its pictures, and the folder of its run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.core.claims import Claims
from nrpurify.core.hashing import digest
from nrpurify.evaluation import gallery
from nrpurify.evaluation.cells import Unit, kept_cells, save_cell, units
from nrpurify.evaluation.diagnostics import Warned, find_warnings
from nrpurify.evaluation.measurement import Cells, Measurement
from nrpurify.evaluation.progress import EvaluationProgress
from nrpurify.evaluation.provenance import provenance
from nrpurify.evaluation.tasks import Samples
from nrpurify.results import Result, Run, write_run

_POLL = 1.0
"""Seconds between two looks at what other processes have measured."""


@dataclass
class Evaluation:
    """A plan with all that it needs; use it in a ``with`` block.

    Attributes:
        measurement: Images, networks and attacked images.
        folder: Of the run; None keeps nothing.
        progress: Watches.
        claims: On results, where other processes measure too.
        cells: What has been measured, in the order of the plan.
    """

    measurement: Measurement
    folder: Path | None
    progress: EvaluationProgress
    stack: ExitStack
    claims: Claims | None = None
    cells: list[Result] = field(default_factory=list)
    _found: dict[int, list[Result]] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._head = _head(self.measurement)

    def __enter__(self) -> Evaluation:
        """Nothing more to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is not kept."""
        self.stack.close()

    def run(self, *, each_attack: bool = False) -> Run:
        """Measure what is not there yet, then write pictures.

        Args:
            each_attack: See :func:`nrpurify.evaluation.gallery.strips`.
        """
        plan = self.measurement.setup.plan
        every = list(units(plan, self.measurement.setup.made))
        total = sum(len(self._ids(unit, victim)) for unit in every for victim in unit.victims)
        waiting = list(enumerate(every))
        while waiting:
            left: list[tuple[int, Unit]] = []
            for place, unit in waiting:
                # success rates need what is right of clean images
                too_early = unit.attack is not None and any(u.attack is None for _, u in left)
                if too_early or not self._settle(place, unit, every, total):
                    left.append((place, unit))
            if len(left) == len(waiting):
                time.sleep(_POLL)
            waiting = left
        return self.show(each_attack=each_attack)

    def pictures(self, *, each_attack: bool = False) -> list[gallery.Strip]:
        """The pictures of the plan's gallery, after :meth:`run`.

        Args:
            each_attack: See :func:`nrpurify.evaluation.gallery.strips`.
        """
        count = self.measurement.setup.plan.gallery
        shown = gallery.strips(self.measurement, self.cells, count, each_attack=each_attack)
        return list(shown)

    def show(self, *, each_attack: bool = False) -> Run:
        """Write pictures, and the run with what has been measured so far; images need no labels."""
        if self.folder is None:
            return self._save([])
        shown = self.pictures(each_attack=each_attack)
        return self._save([strip.write(self.folder / "strips") for strip in shown])

    def _ids(self, unit: Unit, victim: str) -> list[str]:
        found = self.measurement.ids(unit, victim)
        return [name for values in found.values() for name in values.values()]

    def _settle(self, place: int, unit: Unit, every: Sequence[Unit], total: int) -> bool:
        """Read or measure a unit; False where another process is at it."""
        done = self._read_all(unit)
        if done is not None:
            self._take(place, unit, done, total, kept=True)
            return True
        with self._claim(unit, every) as mine:
            if not mine:
                return False
            done = self._read_all(unit)  # another process may have ended it just now
            kept = done is not None
            self._take(place, unit, done or self.measurement.measure(unit), total, kept=kept)
        return True

    def _claim(self, unit: Unit, every: Sequence[Unit]) -> AbstractContextManager[bool]:
        """Of a transfer without any result, all units: its attacked images are made once."""
        if self.claims is None:
            return nullcontext(True)
        key = (unit.index, unit.eps)
        same = (index for index, u in enumerate(every) if (u.index, u.eps) == key)
        begun = unit.attack is None or unit.white_box or any(i in self._found for i in same)
        ids = [name for victim in unit.victims for name in self._ids(unit, victim)]
        return self.claims.held(digest(ids if begun else key)[:16])

    def _read_all(self, unit: Unit) -> dict[str, Cells] | None:
        found = {victim: self._read(unit, victim) for victim in unit.victims}
        done = {victim: cells for victim, cells in found.items() if cells is not None}
        return done if len(done) == len(found) else None

    def _read(self, unit: Unit, victim: str) -> Cells | None:
        if self.folder is None:
            return None
        names = self._ids(unit, victim)
        label = "" if unit.attack is None else unit.attack.label
        return kept_cells(self.folder / "cells", names, len(self.measurement.setup.samples), label)

    def _take(
        self, place: int, unit: Unit, done: dict[str, Cells], total: int, *, kept: bool
    ) -> None:
        for victim, cells in done.items():
            self.measurement.remember_clean(unit, victim, cells)
            for cell, hits in cells:
                if not kept and self.folder is not None:
                    save_cell(self.folder / "cells", cell, hits)
                self._found.setdefault(place, []).append(cell)
                self.cells = [one for key in sorted(self._found) for one in self._found[key]]
                self._save([], total)
                self.progress.finished(cell, len(self.cells), total, kept=kept)

    def _save(self, strips: list[dict[str, Any]], total: int = 0) -> Run:
        """Write the run; of fewer results than ``total`` it says so."""
        warnings = [*_image_notes(self.measurement.setup.samples), *find_warnings(self.cells)]
        for warning in warnings:
            if warning["text"] not in self._warned:
                self._warned.add(warning["text"])
                self.progress.warned(warning)
        warnings += _unfinished(len(self.cells), total)
        made = Run(tuple(self.cells), **self._head, warnings=warnings, strips=strips)
        if self.folder is not None:
            write_run(self.folder, made)
        return made


def _head(measurement: Measurement) -> dict[str, Any]:
    plan, samples = measurement.setup.plan, measurement.setup.samples
    return {
        "name": plan.name,
        "title": plan.title or plan.name,
        "images": {
            "folder": samples.folder,
            "n": len(samples),
            "size": samples.size,
            "rule": samples.rule,
            **({"broken": samples.unreadable} if samples.unreadable else {}),
        },
        "settings": plan.to_dict(),
        "weights_sha256": dict(measurement.setup.networks.hashes),
        "left_out": samples.left_out,
        **provenance(seed=plan.seed, amp=plan.amp, device=measurement.setup.device),
    }


def _unfinished(done: int, total: int) -> list[Warned]:
    text = f"{done} of {total} results; the same command measures the others with --resume"
    return [{"kind": "unfinished", "text": text, "cells": []}] if done < total else []


def _image_notes(samples: Samples) -> list[Warned]:
    texts = [*samples.notes, *samples.problems]
    return [{"kind": "images", "text": text, "cells": []} for text in texts]
