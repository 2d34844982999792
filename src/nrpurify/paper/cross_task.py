"""Tables on detection and segmentation: 4, and 4, 6, 7 of the appendix, and two thirds of 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nrpurify.core.errors import InputError
from nrpurify.paper import scenes
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.grids import measure
from nrpurify.paper.planned import read_plan, read_values
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import run_of, with_measured
from nrpurify.results import Result


@dataclass(frozen=True)
class Part:
    """One victim of one task, as an entry of ``parts`` in a plan.

    Attributes:
        task: ``detect``, ``instances`` or ``segment``.
        victim: The paper's name.
        attacks: Budgets in 1/255 by attack.
        row: Of a cell; ``{attack}``, ``{label}``, ``{eps}`` and ``{defense}`` are put in.
        column: The same.
        clean: Row and column on clean images, where they are others.
        defenses: Specs by the paper's name; those of the plan.
    """

    task: str
    victim: str
    attacks: Mapping[str, Sequence[int]]
    row: str
    column: str
    clean: Sequence[str] = ()
    defenses: Mapping[str, str] = field(default_factory=lambda: {"No Defense": "none"})

    @property
    def metric(self) -> str:
        """What the paper's numbers are."""
        return "pixel accuracy" if self.task == "segment" else "mAP50"

    def lacking(self, bench: Bench) -> str:
        """What keeps it from being measured; empty when nothing does."""
        if self.task == "segment":
            return "" if scenes.has_frames(bench) else scenes.NO_FRAMES
        if not scenes.has_scenes(bench):
            return scenes.NO_SCENES
        if self.task == "instances" and bench.scale != "full":
            return "no detector of the package source gives masks; --scale full has Mask-RCNN"
        if "cda" in self.attacks and not bench.generators():
            return "there is no trained generator"
        return ""

    def measure(self, bench: Bench) -> Measured:
        """Measure it."""
        chosen = [
            attack
            for name, eps in self.attacks.items()
            for attack in scenes.budgets(bench, name, eps)
        ]
        return scenes.measured(bench, self.task, self.victim, self.defenses, chosen)

    def places(self, bench: Bench, cells: Sequence[Result]) -> dict[str, tuple[str, str]]:
        """Where its cells belong, by their ids."""
        known = scenes.specs_of(bench, self.defenses)
        return {
            cell.id: self.place(cell, known[cell.defense])
            for cell in cells
            if cell.metric == self.metric and cell.defense in known
        }

    def place(self, cell: Result, defense: str) -> tuple[str, str]:
        """Row and column of a cell behind a defense of the paper's name."""
        attack = f"CDA-{cell.label}" if cell.attack == "cda" else cell.attack.upper()
        words = {"attack": attack, "label": cell.label, "defense": defense}
        row, column = (
            (self.row, self.column) if cell.eps else (self.clean or (self.row, "No Attack"))
        )
        eps = round(255 * (cell.eps or 0))
        return row.format(**words, eps=eps), column.format(**words, eps=eps)


def parts(bench: Bench, name: str) -> list[Part]:
    """The parts of ``plans/NAME.yaml``."""
    values = read_values(name, bench.scale)
    shared = {"defenses": values["defenses"]} if "defenses" in values else {}
    return [Part(**shared, **part) for part in values["parts"]]


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the classifiers' grid, where the plan has one, and the parts that have data.

    Raises:
        InputError: There is no grid, and there are data for no part.
    """
    every = parts(bench, experiment.name)
    lacking = {f"{part.victim}, {part.task}": part.lacking(bench) for part in every}
    if "victims" in read_values(experiment.name, bench.scale):
        outcome = measure(bench, experiment, read_plan(experiment.name, bench.scale))
    elif all(lacking.values()):
        raise InputError(f"{experiment.name}: {'; '.join(dict.fromkeys(lacking.values()))}")
    else:
        empty = run_of(
            bench, experiment.name, experiment.heading, [], data=[], weights={}, settings={}
        )
        outcome = Outcome(empty)
    found: list[Measured] = []
    for part in every:
        if not part.lacking(bench):
            found.append(part.measure(bench))
            outcome.places |= part.places(bench, found[-1].cells)
    if found:
        outcome.run = with_measured(outcome.run, found)
    for what, reason in lacking.items():
        if reason:
            outcome.warn("left out", f"{what}: {reason}")
    return outcome
