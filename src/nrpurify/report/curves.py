"""What is plotted: success, or another metric, against eps and against iterations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nrpurify.report.aggregate import grouped, mean, settings, strongest, transferred, usual_budget
from nrpurify.report.run import Cell, Run
from nrpurify.report.threats import CLEAN, rank

MIN_POINTS = 2


@dataclass(frozen=True)
class Plot:
    """Curves by defense.

    Attributes:
        title: Attack and threat.
        detail: Other settings.
        across: What x is.
        up: What y is, in [0, 1].
        series: Points (x, y) by defense, x rising.
    """

    title: str
    detail: str
    across: str
    up: str
    series: dict[str, tuple[tuple[float, float], ...]]


def plots(run: Run, kind: tuple[str, str]) -> list[Plot]:
    """Plots of one (task, metric): against eps, then against iterations, where there are two."""
    cells = transferred(cell for cell in run.cells if cell.kind == kind)
    clean = [cell for cell in cells if cell.threat == CLEAN]
    attacked = sorted((c for c in cells if c.threat != CLEAN), key=lambda c: rank(c.threat))
    attacks = grouped(attacked, lambda c: (c.threat, c.title)).values()
    by_norm = grouped(attacked, lambda c: (c.threat, c.title, c.norm)).values()
    found = [_against_eps(own, clean) for own in by_norm]
    found += [_against_steps(own) for own in attacks]
    return [plot for plot in found if plot is not None]


def _against_eps(cells: Sequence[Cell], clean: Sequence[Cell]) -> Plot | None:
    defenses = {cell.defense for cell in cells}
    at_zero = [cell for cell in clean if cell.defense in defenses]
    used = [c for own in grouped(cells, lambda c: c.eps).values() for c in strongest(own)]
    if len({cell.eps for cell in used}) < MIN_POINTS:
        return None
    unit, across = (1, "ℓ2 length") if cells[0].norm == "l2" else (255, "ε in 255ths")
    series = _series([*at_zero, *used], lambda cell: unit * (cell.eps or 0.0))
    detail = settings(used, eps=False)
    return Plot(_title(cells[0]), detail, across, _up(cells[0]), series)


def _against_steps(cells: Sequence[Cell]) -> Plot | None:
    budget = usual_budget([cell for cell in cells if cell.steps is not None])
    used = [cell for cell in cells if cell.budget == budget and cell.steps is not None]
    by_steps = grouped(used, lambda cell: cell.steps)
    if len(by_steps) < MIN_POINTS:
        return None
    used = [cell for own in by_steps.values() for cell in strongest(own)]
    series = _series(used, lambda cell: float(cell.steps or 0))
    detail = settings(used).split(",")[0]
    return Plot(_title(cells[0]), detail, "iterations", _up(cells[0]), series)


def _series(
    cells: Sequence[Cell], x: Callable[[Cell], float]
) -> dict[str, tuple[tuple[float, float], ...]]:
    found = {}
    for defense, own in grouped(cells, lambda cell: cell.defense).items():
        points = {at: mean(same) for at, same in grouped(own, x).items()}
        found[defense] = tuple(
            (at, _height(own[0], one.value)) for at, one in sorted(points.items()) if one
        )
    return found


def _height(cell: Cell, value: float) -> float:
    return 1 - value if cell.metric == "accuracy" else value


def _up(cell: Cell) -> str:
    return "success rate" if cell.metric == "accuracy" else cell.metric


def _title(cell: Cell) -> str:
    return f"{cell.title} ({cell.threat})"
