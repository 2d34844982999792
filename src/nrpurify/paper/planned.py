"""Tables that are grids: ``plans/NAME.yaml`` says who attacks whom, and where cells stand.

A plan names networks as the paper does. ``sources`` by ``attacks`` make a line for each pair,
``lines`` adds others. ``row`` and ``column`` of a cell in the paper's table are texts with
``{line}``, or its two parts ``{source}`` and ``{attack}``, ``{defense}``, ``{victim}`` and
``{eps}`` in 1/255; ``clean`` holds both for images without an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from nrpurify.core.config import read_yaml
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import UNDEFENDED, Grid, Line, Spot, measure


@cache
def read_plan(name: str) -> Grid:
    """The grid of ``plans/NAME.yaml``."""
    file = Path(str(resources.files("nrpurify.paper"))) / "plans" / f"{name}.yaml"
    values, _ = read_yaml(file)
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
    )


def _line(heading: str, values: Mapping[str, Any]) -> Line:
    return Line(heading, **{**values, "source": tuple(values.get("source", ()))})


def _placing(values: Mapping[str, Any]) -> Callable[[Spot], tuple[str, str]]:
    attacked = values["row"], values["column"]
    clean = values.get("clean", attacked)

    def place(spot: Spot) -> tuple[str, str]:
        source, _, attack = spot.line.partition(" · ")
        row, column = (
            text.format(**spot._asdict(), source=source, attack=attack)
            for text in (attacked if spot.eps else clean)
        )
        return row, column

    return place


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the grid of the experiment's plan."""
    return measure(bench, experiment, read_plan(experiment.name))
