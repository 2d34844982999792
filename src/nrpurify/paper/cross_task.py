"""Tables on detection and segmentation: 4, and 4, 6, 7 of the appendix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nrpurify.core.errors import InputError
from nrpurify.paper import scenes
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import run_of, with_measured
from nrpurify.results import Result

TRANSFORMS = {
    "No Defense": "none",
    "JPEG (q=75)": "jpeg:quality=75",
    "JPEG (q=50)": "jpeg:quality=50",
    "JPEG (q=20)": "jpeg:quality=20",
    "TVM (w=30)": "tvm:weight=30",
    "TVM (w=10)": "tvm:weight=10",
    "MF (win=3)": "median:size=3",
}
Label = Callable[[Result, str], tuple[str, str]]
"""Row and column of a cell whose defense has the given heading."""


@dataclass(frozen=True)
class Part:
    """One victim of one task.

    Attributes:
        task: ``detect``, ``instances`` or ``segment``.
        victim: The paper's name.
        attacks: Budgets in 1/255 by attack.
        defenses: Specs by the paper's name.
        label: Where a cell belongs.
    """

    task: str
    victim: str
    attacks: Mapping[str, tuple[int, ...]]
    defenses: Mapping[str, str]
    label: Label

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
        return ""

    def measure(self, bench: Bench) -> Measured:
        """Measure it."""
        chosen = [
            attack
            for name, eps in self.attacks.items()
            for attack in scenes.budgets(bench, name, eps)
        ]
        if self.task == "segment":
            return scenes.segment(bench, self.defenses, chosen)
        return scenes.detect(bench, self.victim, self.defenses, chosen, self.task)

    def places(self, bench: Bench, cells: Sequence[Result]) -> dict[str, tuple[str, str]]:
        """Where its cells belong, by their ids."""
        known = scenes.specs_of(bench, self.defenses)
        return {
            cell.id: self.label(cell, known[cell.defense])
            for cell in cells
            if cell.metric == self.metric and cell.defense in known
        }


def _attack(cell: Result) -> str:
    return f"{cell.attack.upper()} ε {round(255 * cell.eps)}" if cell.eps else "No Attack"


def _attack_and_domain(cell: Result) -> str:
    if cell.attack == "cda":
        return f"CDA-{cell.label}"
    return "SSP" if cell.attack == "ssp" else "No Attack"


def by_defense(cell: Result, defense: str) -> tuple[str, str]:
    """Defense in the row, attack in the column."""
    return defense, _attack(cell)


def by_victim(row: str) -> Label:
    """A row of its own, attack in the column."""
    return lambda cell, _: (row, _attack(cell))


UNDEFENDED = {"No Defense": "none"}
BUDGETS = {"ssp": (8, 16)}
_PARTS: dict[str, tuple[Part, ...]] = {
    "table4": (
        Part("segment", "SegNet", BUDGETS, UNDEFENDED, by_victim("Semantic Seg. · SegNet")),
        Part(
            "instances",
            "Mask-RCNN",
            BUDGETS,
            UNDEFENDED,
            by_victim("Instance Seg. · Mask-RCNN"),
        ),
        Part("detect", "RetinaNet", BUDGETS, UNDEFENDED, by_victim("Object Det. · RetinaNet")),
        Part("detect", "Mask-RCNN", BUDGETS, UNDEFENDED, by_victim("Object Det. · Mask-RCNN")),
    ),
    "appendix-table4": (
        Part(
            "detect",
            "Mask-RCNN",
            {"cda": (8, 16), "ssp": (8, 16)},
            UNDEFENDED,
            lambda cell, _: (
                _attack_and_domain(cell),
                f"ε {round(255 * cell['eps'])}" if cell["eps"] else "Mask-RCNN",
            ),
        ),
    ),
    "appendix-table6": (
        Part("segment", "SegNet", BUDGETS, {**TRANSFORMS, "NRP": "nrp"}, by_defense),
    ),
    "appendix-table7": (
        Part("detect", "RetinaNet", BUDGETS, {**TRANSFORMS, "NRP": "nrp"}, by_defense),
    ),
}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Measure the table's parts that there are data for.

    Raises:
        InputError: There are data for none.
    """
    parts = _PARTS[experiment.name]
    lacking = {f"{part.victim}, {part.task}": part.lacking(bench) for part in parts}
    if all(lacking.values()):
        raise InputError(f"{experiment.name}: {'; '.join(dict.fromkeys(lacking.values()))}")
    found: list[Measured] = []
    places: dict[str, tuple[str, str]] = {}
    for part in parts:
        if not part.lacking(bench):
            found.append(part.measure(bench))
            places |= part.places(bench, found[-1].cells)
    run = run_of(bench, experiment.name, experiment.heading, [], data=[], weights={}, settings={})
    outcome = Outcome(with_measured(run, found), places)
    for what, reason in lacking.items():
        if reason:
            outcome.warn("left out", f"{what}: {reason}")
    return outcome
