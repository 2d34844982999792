"""Every attack in full: defenses × victims, each number with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrpurify.report.aggregate import Mean, grouped, mean, settings, strongest, transferred
from nrpurify.report.run import Cell, Run
from nrpurify.report.threats import is_own_surrogate, rank


@dataclass(frozen=True)
class Line:
    """One defense: its number on each victim, and the mean over victims that are no surrogate."""

    defense: str
    victims: dict[str, Mean]
    mean: Mean | None


@dataclass(frozen=True)
class Breakdown:
    """One attack at one budget."""

    threat: str
    attack: str
    detail: str
    kind: tuple[str, str]
    victims: tuple[str, ...]
    lines: tuple[Line, ...]
    surrogates: frozenset[str]


def breakdowns(run: Run, kind: tuple[str, str]) -> list[Breakdown]:
    """All attacks of one (task, metric), in the order of the threats, then as measured."""
    cells = sorted((c for c in run.cells if c.kind == kind), key=lambda c: rank(c.threat))
    parts = grouped(cells, lambda c: (c.threat, c.title, c.budget))
    return [_breakdown(strongest(own)) for own in parts.values()]


def _breakdown(cells: Sequence[Cell]) -> Breakdown:
    first = cells[0]
    return Breakdown(
        first.threat,
        first.title,
        settings(cells, surrogate=True),
        first.kind,
        tuple(dict.fromkeys(cell.victim for cell in cells)),
        tuple(_line(d, own) for d, own in grouped(cells, lambda c: c.defense).items()),
        frozenset(c.victim for c in cells if is_own_surrogate(c.threat, c.surrogate, c.victim)),
    )


def _line(defense: str, cells: Sequence[Cell]) -> Line:
    means = {victim: mean(own) for victim, own in grouped(cells, lambda c: c.victim).items()}
    found = {victim: value for victim, value in means.items() if value is not None}
    return Line(defense, found, mean(transferred(cells)))


def interval(one: Mean) -> tuple[float, float] | None:
    """The 95 % interval of a number that is a single cell's; no interval of a mean is claimed."""
    if len(one.cells) != 1 or one.cells[0].interval is None:
        return None
    low, high = one.cells[0].interval
    return low, high
