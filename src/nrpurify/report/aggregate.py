"""Which of many cells speak for a row: the usual budget, the strongest attack, other victims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nrpurify.report.run import Cell
from nrpurify.report.threats import is_own_surrogate
from nrpurify.results.budget import Budget

Key = TypeVar("Key")


@dataclass(frozen=True)
class Mean:
    """A mean over victims, each of which counts once.

    Attributes:
        value: In [0, 1].
        cells: What it was made of.
        of: Number of victims, or of rows in a mean of rows.
    """

    value: float
    cells: tuple[Cell, ...]
    of: int

    @property
    def left(self) -> float:
        """The share by which defenses are compared; for a success rate, one minus it."""
        return 1 - self.value if is_success(self.cells[0].metric) else self.value

    @property
    def misjudged(self) -> bool:
        """Whether one of its cells is, so that it flatters its defense."""
        return any(cell.misjudged for cell in self.cells)

    @property
    def warned(self) -> tuple[int, ...]:
        """Places of the warnings about its cells among the run's."""
        return tuple(sorted({place for cell in self.cells for place in cell.warned}))


def is_success(metric: str) -> bool:
    """Whether a metric counts an attack's successes, so that less of it is better."""
    return "success" in metric.lower()


def grouped(cells: Iterable[Cell], key: Callable[[Cell], Key]) -> dict[Key, list[Cell]]:
    """Cells by key, in order of appearance."""
    found: dict[Key, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


def usual_budget(cells: Sequence[Cell], wish: Budget | None = None) -> Budget | None:
    """``wish`` if cells have that budget, else the most frequent one, of equals the largest."""
    counts = Counter(cell.budget for cell in cells if cell.budget is not None)
    if not counts or wish in counts:
        return wish if counts else None
    return max(counts, key=lambda budget: (counts[budget], budget))


def transferred(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without those in which a transfer's victim is its own surrogate."""
    return [c for c in cells if not is_own_surrogate(c.threat, c.surrogate, c.victim)]


def strongest(cells: Sequence[Cell]) -> list[Cell]:
    """Of each defense, victim and surrogate the cells with most steps, then most draws.

    Where both roundings were measured, 8-bit inputs are shown: what a file can hold.
    """
    chosen: list[Cell] = []
    for same in grouped(cells, lambda c: (c.title, c.defense, c.victim, c.surrogate)).values():
        best = max(map(_strength, same))
        chosen += [cell for cell in same if _strength(cell) == best]
    return chosen


def _strength(cell: Cell) -> tuple[int, int, bool]:
    return cell.steps or 0, cell.draws, cell.rounding == "uint8"


def mean(cells: Sequence[Cell]) -> Mean | None:
    """Mean over victims of the means of each; None of no cells and of shares of no image."""
    cells = [cell for cell in cells if cell.n != 0]
    if not cells:
        return None
    victims = grouped(cells, lambda cell: cell.victim).values()
    values = [sum(cell.value for cell in own) / len(own) for own in victims]
    return Mean(sum(values) / len(values), tuple(cells), len(values))


def settings(cells: Sequence[Cell], *, eps: bool = True, surrogate: bool = False) -> str:
    """Budget, steps, draws and surrogate of cells, in words: ``ε 16/255, 100 steps, 30 draws``."""
    budgets = sorted({c.budget for c in cells if c.budget is not None})
    parts = [f"ε {budget.text()}" for budget in budgets if eps]
    for number, unit in (("steps", "step"), ("draws", "draw")):
        values = sorted({v for c in cells if (v := getattr(c, number)) is not None})
        if values and (number == "steps" or cells[0].threat == "EOT"):
            parts.append(_count(values, unit))
    if surrogate:
        names = sorted({c.surrogate for c in cells if c.surrogate and c.surrogate != c.victim})
        parts += [f"made on {' and '.join(names)}"] if names else []
    return ", ".join(parts)


def _count(values: Sequence[int], unit: str) -> str:
    text = str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
    return f"{text} {unit}{'' if text == '1' else 's'}"
