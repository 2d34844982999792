"""What an experiment of the paper is: what it measured, what is measured here, how it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nrpurify.paper.substitutes import Scale
from nrpurify.results import Run

if TYPE_CHECKING:
    from nrpurify.paper.bench import Bench

SMOKE_WARNING = "smoke proves that the command runs, its numbers mean nothing"


@dataclass(frozen=True)
class Quoted:
    """One number as the paper prints it.

    Attributes:
        row: Its row's heading; parts are joined by " · ".
        column: Its column's heading.
        value: As printed.
        metric: What it is, such as "success rate" or "top-1 accuracy".
        unit: Of the value.
    """

    row: str
    column: str
    value: float
    metric: str
    unit: str = "%"

    @property
    def text(self) -> str:
        """The value as tables in percent show it: with its unit if that is another one."""
        return f"{self.value:g}" + ("" if self.unit == "%" else f" {self.unit}")


@dataclass(frozen=True)
class Finding:
    """One sentence of the paper beside what was found here.

    Attributes:
        claim: What the paper says, in short.
        here: What was found, with numbers; empty when it was not looked at.
    """

    claim: str
    here: str = ""


@dataclass
class Outcome:
    """What a run found.

    Attributes:
        run: What ``run.json`` holds.
        places: Row and column of the paper by the id of a cell; cells that the paper lacks have
            headings of their own.
        findings: Where the paper gives curves or sentences and no numbers.
        files: Further files in the run folder, by their names.
        words: What was measured in other units than percent, in words, by row and column.
    """

    run: Run
    places: dict[str, tuple[str, str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    words: dict[tuple[str, str], str] = field(default_factory=dict)

    def warn(self, kind: str, text: str) -> None:
        """Add a warning to the run."""
        warning = {"kind": kind, "text": text, "cells": []}
        self.run = replace(self.run, warnings=[*self.run.warnings, warning])


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper, as something that can be run.

    Each is one file ``reference/NAME.yaml``.

    Attributes:
        name: As in ``nrpurify paper run NAME``.
        where: As the paper calls it, such as "Table 1".
        title: What it is about.
        measured: What the paper measured, on what.
        instead: What is measured here, by scale.
        cost: Rough time, by scale.
        work: The module of this package whose function ``work`` runs it.
        quoted: The paper's numbers.
        claims: What the paper says where it gives no numbers.
        success: Whether the paper's numbers under attack are success rates, that is one minus
            accuracy; what is measured on clean images stays accuracy.
        extras: Extras of this package that a run needs beyond ``models``.
    """

    name: str
    where: str
    title: str
    measured: str
    instead: Mapping[Scale, str]
    cost: Mapping[Scale, str]
    work: str
    quoted: tuple[Quoted, ...] = ()
    claims: tuple[str, ...] = ()
    success: bool = False
    extras: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> Experiment:
        """An experiment from what its file holds."""
        known = dict(values)
        tables = known.pop("numbers", ())
        return cls(
            name,
            quoted=tuple(number for table in tables for number in _numbers(table)),
            claims=tuple(known.pop("claims", ())),
            extras=tuple(known.pop("extras", ())),
            **known,
        )

    @property
    def heading(self) -> str:
        """The title of its run and report."""
        return f"{self.where}: {self.title}"

    def run(self, bench: Bench) -> Outcome:
        """Run it; see the function ``work`` of its module."""
        module = import_module(f"nrpurify.paper.{self.work}")
        outcome: Outcome = module.work(bench, self)
        return outcome

    def summary(self) -> dict[str, Any]:
        """What ``nrpurify paper list --json`` prints of it."""
        return {
            "name": self.name,
            "where": self.where,
            "title": self.title,
            "measured": self.measured,
            "instead": dict(self.instead),
            "cost": dict(self.cost),
            "extras": list(self.extras),
            "numbers": len(self.quoted),
            "claims": list(self.claims),
        }


def _numbers(table: Mapping[str, Any]) -> Iterator[Quoted]:
    """The numbers of one table of a file; null is a cell that the paper leaves empty."""
    for row, values in table["rows"].items():
        for column, value in zip(table["columns"], values, strict=True):
            if value is not None:
                yield Quoted(row, column, value, table["metric"], table.get("unit", "%"))
