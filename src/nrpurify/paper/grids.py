"""Experiments that are grids: the paper's attacks, defenses and victims as a grid recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nrpurify import attacks
from nrpurify.attacks.trained import LOADERS, shipped
from nrpurify.core.errors import InputError
from nrpurify.evaluation import EvaluationPlan, EvaluationProgress, plan_from_dict
from nrpurify.evaluation.runner import prepare
from nrpurify.paper import trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.results import Result, Run

SMOKE_STEPS = 2
UNDEFENDED = {"no defense": "none"}


class Spot(NamedTuple):
    """Where a cell stands in the paper's words: attack, eps in 1/255 (0 when clean) and so on."""

    line: str
    eps: int
    defense: str
    victim: str


@dataclass(frozen=True)
class Line:
    """One attack of the paper.

    Attributes:
        heading: As the paper calls it, its source included.
        attack: A name in :func:`nrpurify.attacks.names`.
        source: The paper's networks that are attacked; none for SSP's VGG16 and trained attacks.
        options: Further settings of :class:`nrpurify.evaluation.PlannedAttack`.
        domain: Of CDA's generator, see :meth:`Bench.generators`.
    """

    heading: str
    attack: str
    source: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    domain: str = "ImageNet"


@dataclass(frozen=True)
class Grid:
    """A table of the paper as a grid.

    Attributes:
        lines: The attacks.
        victims: The paper's names.
        place: Row and column of a spot in the paper's table; None for what it has no place for.
        defenses: Specs by the paper's name; ``nrp`` is the bench's purifier.
        eps: Budgets in 1/255.
        small: An own cast for the scale small, see :mod:`nrpurify.paper.substitutes`.
        metrics: What is counted; top-5 accuracy stands in columns T-5 beside T-1.
        pictures: How many images are shown under each attack.
    """

    lines: tuple[Line, ...]
    victims: tuple[str, ...]
    place: Callable[[Spot], tuple[str, str] | None]
    defenses: Mapping[str, str] = field(default_factory=lambda: dict(UNDEFENDED))
    eps: tuple[int, ...] = (16,)
    small: Mapping[str, str | None] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("accuracy",)
    pictures: int = 0


@dataclass(frozen=True)
class Cast:
    """A grid with networks and defenses put in, by what plays whom.

    Attributes:
        attacks: Of the recipe, by the line's heading.
        victims: The paper's name by network.
        defenses: The paper's name by spec.
        absent: What has no part at this scale, one sentence each.
    """

    attacks: dict[str, dict[str, Any]]
    victims: dict[str, str]
    defenses: dict[str, str]
    absent: list[str]

    @classmethod
    def of(cls, bench: Bench, grid: Grid) -> Cast:
        """Put in what there is at the bench's scale.

        Raises:
            InputError: Several victims of the user for a table of one.
        """
        chosen: dict[str, dict[str, Any]] = {}
        absent: list[str] = []
        for line in grid.lines:
            attack = _attack(bench, grid, line)
            if attack is None:
                absent.append(f"{line.heading}: nothing at this scale can make this attack")
            else:
                chosen[line.heading] = attack
        networks = {name: bench.network(name, grid.small) for name in grid.victims}
        if len(bench.victims) > 1 and len(networks) == 1:
            raise InputError(
                f"--victim is given {len(bench.victims)} times; this table has one victim, so give "
                "one to stand in its place"
            )
        others = networks if len(networks) == 1 else bench.victims
        networks |= dict(zip(others, bench.victims, strict=False))
        specs = {name: _spec(bench, spec) for name, spec in grid.defenses.items()}
        absent += [f"{name}: no network here plays this victim" for name in _none(networks)]
        absent += [
            f"{name}: not trained; see --checkpoints and nrpurify train --recipe"
            for name in _none(specs)
        ]
        return cls(chosen, _turned(networks), _turned(specs), absent)

    def spot(self, cell: Result) -> Spot | None:
        """Where a cell of the run stands; None without a place for its defense."""
        defense, victim = self.defenses.get(cell.defense), self.victims[cell.victim]
        if defense is None:
            return None
        if cell.attack == "clean":
            return Spot("No Attack", 0, defense, victim)
        return Spot(cell.label, round(255 * (cell.eps or 0)), defense, victim)


def _attack(bench: Bench, grid: Grid, line: Line) -> dict[str, Any] | None:
    own = dict(zip(grid.victims, bench.victims, strict=False)) if len(grid.victims) == 1 else {}
    names = [own.get(name) or bench.network(name, grid.small) for name in line.source]
    learned = _learned(bench, line)
    if None in names or (learned is None and line.attack in LOADERS):
        return None
    chosen: dict[str, Any] = {"name": line.attack, "eps": [f"{eps}/255" for eps in grid.eps]}
    chosen |= {"surrogate": names} if names else {}
    chosen |= line.options
    if "purifier" in chosen:
        chosen["purifier"] = trained.spec(bench, chosen["purifier"])
    if learned is not None and learned != shipped().get(line.attack):
        chosen["trained"] = str(learned)
    if bench.scale == "smoke" and "steps" in attacks.get(line.attack).settings:
        chosen["steps"] = min(SMOKE_STEPS, chosen.get("steps", SMOKE_STEPS))
    return chosen


def _learned(bench: Bench, line: Line) -> Path | None:
    """What CDA or FFF has learned; None where there is nothing, and for other attacks."""
    if line.attack == "cda":
        return bench.generators().get(line.domain)
    if line.attack == "fff":
        return bench.trained.get("fff", shipped().get("fff"))
    return None


def _spec(bench: Bench, defense: str) -> str | None:
    if bench.scale == "smoke":
        defense = defense.replace("passes=30", "passes=2")
    return trained.spec(bench, defense)


def _none(played: Mapping[str, str | None]) -> Iterator[str]:
    return (name for name, by in played.items() if by is None)


def _turned(played: Mapping[str, str | None]) -> dict[str, str]:
    return {by: name for name, by in played.items() if by is not None}


def plan_of(bench: Bench, name: str, title: str, grid: Grid, cast: Cast) -> EvaluationPlan:
    """The plan that a cast makes; each attack carries its line's heading as label."""
    given = {
        "name": name,
        "title": title,
        "attacks": [{**attack, "label": line} for line, attack in cast.attacks.items()],
        "metrics": list(grid.metrics),
        "victims": list(cast.victims),
        "defenses": list(cast.defenses),
        "data": {
            "folder": "" if bench.images is None else str(bench.images),
            "labels": "" if bench.labels is None else str(bench.labels),
            "limit": bench.limit,
            "size": bench.side,
            "check_labels": bench.scale != "smoke",
        },
        "gallery": grid.pictures,
        "seed": bench.seed,
        "amp": bench.amp,
    }
    return plan_from_dict(given)


class CellNotes(EvaluationProgress):
    """Notes each result in a bench's progress."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Note a result."""
        what = f"{cell.attack} on {cell.victim} behind {cell.defense}, {cell.metric}"
        self.bench.progress.note(
            f"{done}/{total} {what}: {cell.value:.1%}{' (kept)' if kept else ''}"
        )


def measure(bench: Bench, experiment: Experiment, grid: Grid) -> Outcome:
    """Run a grid into the bench's folder, and find where its cells stand in the paper.

    Raises:
        InputError: Images, checkpoints or a folder that cannot be used.
        WeightsError: Weights could not be found or downloaded.
    """
    cast = Cast.of(bench, grid)
    plan = plan_of(bench, experiment.name, experiment.heading, grid, cast)
    run = _run(bench, plan)
    places = {}
    for cell in run.cells:
        spot = cast.spot(cell)
        place = None if spot is None else grid.place(spot)
        if place is not None and cell.metric == "top-5 accuracy":
            place = place[0], place[1].replace("T-1", "T-5")
        if place is not None:
            places[cell.id] = place
    outcome = Outcome(run, places)
    for text in cast.absent:
        outcome.warn("left out", text)
    return outcome


def _run(bench: Bench, plan: EvaluationPlan) -> Run:
    with prepare(
        plan,
        bench.out,
        items=replace(bench, limit=None).items(),
        resume=bench.resume,
        device=bench.device,
        progress=CellNotes(bench),
    ) as evaluation:
        return evaluation.run(each_attack=True)
