"""Experiments that are a plan in YAML: the paper's attacks, defenses and victims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from nrpurify.core.config import read_yaml
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import UNDEFENDED, Grid, Line, Spot, measure
from nrpurify.paper.substitutes import SCALES, Scale
from nrpurify.paper.trained import OWN, base, budget, train_one


@cache
def read_values(name: str, scale: Scale) -> dict[str, Any]:
    """What ``plans/NAME.yaml``, or the plan that it names under ``same_as``, holds for a scale."""
    file = Path(str(resources.files("nrpurify.paper"))) / "plans" / f"{name}.yaml"
    values, _ = read_yaml(file)
    if "same_as" in values:
        return read_values(values["same_as"], scale)
    found: dict[str, Any] = at_scale(values, scale)
    return found


def at_scale(values: Any, scale: Scale) -> Any:
    """Plain values, with each mapping of all three scales replaced by what it has for one."""
    if isinstance(values, list):
        return [at_scale(value, scale) for value in values]
    if not isinstance(values, dict):
        return values
    if set(values) == set(SCALES):
        return at_scale(values[scale], scale)
    return {key: at_scale(value, scale) for key, value in values.items()}


def read_plan(name: str, scale: Scale) -> Grid:
    """The grid of ``plans/NAME.yaml`` at a scale."""
    values = read_values(name, scale)
    pairs = [
        Line(f"{source} · {heading}", attack, tuple(networks))
        for source, networks in values.get("sources", {}).items()
        for heading, attack in values["attacks"].items()
    ]
    others = [_line(heading, line) for heading, line in values.get("lines", {}).items()]
    return Grid(
        lines=(*pairs, *others),
        victims=tuple(values["victims"]),
        place=_placing(values),
        defenses=values.get("defenses", UNDEFENDED),
        eps=tuple(values.get("eps", (16,))),
        small=values.get("small", {}),
        metrics=tuple(values.get("metrics", ("accuracy",))),
        pictures=values.get("pictures", 0),
    )


def _line(heading: str, values: Mapping[str, Any]) -> Line:
    return Line(heading, **{**values, "source": tuple(values.get("source", ()))})


def _placing(values: Mapping[str, Any]) -> Callable[[Spot], tuple[str, str]]:
    attacked = values["row"], values["column"]
    clean = values.get("clean", attacked)

    def place(spot: Spot) -> tuple[str, str]:
        source, _, attack = spot.line.partition(" · ")
        behind = "" if spot.defense == "no defense" else f" · {spot.defense}"
        row, column = (
            text.format(**spot._asdict(), source=source, attack=attack, behind=behind)
            for text in (attacked if spot.eps else clean)
        )
        return row, column

    return place


def train_missing(bench: Bench, name: str, grid: Grid) -> None:
    """Train the purifiers under ``train`` of the plan, all at one budget.

    Those of an attacker are always needed; defenses are left out where there are no photos.
    """
    needed = {line.options.get("purifier", "").removeprefix(OWN) for line in grid.lines}
    for own, given in read_values(name, bench.scale).get("train", {}).items():
        changes = dict(given)
        recipe = changes.pop("recipe", base(bench))
        if own in needed or bench.data is not None:
            train_one(bench, own, recipe, {**budget(bench), **changes})


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Train what is missing, and measure the grid of the experiment's plan.

    Raises:
        InputError: No photos for the training of an attacker's purifier.
    """
    grid = read_plan(experiment.name, bench.scale)
    train_missing(bench, experiment.name, grid)
    outcome = measure(bench, experiment, grid)
    if grid.pictures:
        cells = {cell.id: cell for cell in outcome.run.cells}
        shares = "; ".join(
            f"{row}, {column}: {cells[name].value:.0%} right"
            for name, (row, column) in outcome.places.items()
        )
        here = f"{len(outcome.run.strips)} strips in strips/. {shares}"
        outcome.findings.append(Finding(experiment.claims[0], here))
    return outcome
