"""Tables on detection and segmentation: 4, and 4, 6, 7 of the appendix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nrpurify.core.errors import InputError
from nrpurify.paper import scenes
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Cell, Experiment, Outcome, Quoted, Scale, quote
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import add_measured, run_of

TRANSFORMS = {
    "No Defense": "none",
    "JPEG (q=75)": "jpeg:quality=75",
    "JPEG (q=50)": "jpeg:quality=50",
    "JPEG (q=20)": "jpeg:quality=20",
    "TVM (w=30)": "tvm:weight=30",
    "TVM (w=10)": "tvm:weight=10",
    "MF (win=3)": "median:size=3",
}
SSP_COLUMNS = ("No Attack", "SSP ε 8", "SSP ε 16")
Label = Callable[[Cell, str], tuple[str, str]]
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

    def places(self, bench: Bench, cells: Sequence[Cell]) -> dict[str, tuple[str, str]]:
        """Where its cells belong, by their ids."""
        known = scenes.headings(bench, self.defenses)
        return {
            cell["id"]: self.label(cell, known[cell["defense"]])
            for cell in cells
            if cell["metric"] == self.metric and cell["defense"] in known
        }


def measure_parts(bench: Bench, name: str, title: str, parts: tuple[Part, ...]) -> Outcome:
    """Measure the parts that there are data for.

    Raises:
        InputError: There are data for none.
    """
    lacking = {f"{part.victim}, {part.task}": part.lacking(bench) for part in parts}
    if all(lacking.values()):
        raise InputError(f"{name}: {'; '.join(dict.fromkeys(lacking.values()))}")
    found: list[Measured] = []
    places: dict[str, tuple[str, str]] = {}
    for part in parts:
        if not part.lacking(bench):
            found.append(part.measure(bench))
            places |= part.places(bench, found[-1].cells)
    run = run_of(bench, name, title, [], data=[], weights={}, settings={})
    add_measured(run, found)
    run["warnings"] += [
        {"kind": "left out", "text": f"{what}: {reason}", "cells": []}
        for what, reason in lacking.items()
        if reason
    ]
    return Outcome(run, places)


def _attack(cell: Cell) -> str:
    return f"{cell['attack'].upper()} ε {round(255 * cell['eps'])}" if cell["eps"] else "No Attack"


def _attack_and_domain(cell: Cell) -> str:
    if cell["attack"] == "cda":
        return f"CDA-{cell['settings']['domain']}"
    return "SSP" if cell["attack"] == "ssp" else "No Attack"


def by_defense(cell: Cell, defense: str) -> tuple[str, str]:
    """Defense in the row, attack in the column."""
    return defense, _attack(cell)


def by_victim(row: str) -> Label:
    """A row of its own, attack in the column."""
    return lambda cell, _: (row, _attack(cell))


UNDEFENDED = {"No Defense": "none"}
BUDGETS = {"ssp": (8, 16)}
_SMOKE = "random networks on two generated pictures, SSP of two steps"
_DETECTION = "coco-ssd (MobileNet) in place of Mask-RCNN, CenterNet in place of RetinaNet"
_COST: dict[Scale, str] = {
    "smoke": "30 seconds",
    "small": "an hour for 100 photos",
    "full": "hours on a GPU",
}


def _experiment(
    name: str,
    where: str,
    title: str,
    measured: str,
    small: str,
    parts: tuple[Part, ...],
    quoted: tuple[Quoted, ...],
) -> Experiment:
    return Experiment(
        name=name,
        where=where,
        title=title,
        measured=measured,
        instead={
            "smoke": _SMOKE,
            "small": f"{small}; SSP of 30 steps; data given by --scenes or --frames",
            "full": "torchvision's Mask-RCNN and RetinaNet, SegNet-Basic trained here; 100 steps",
        },
        cost=_COST,
        work=lambda bench: measure_parts(bench, name, f"{where}: {title}", parts),
        quoted=quoted,
        extras=("tasks", "defenses"),
    )


EXPERIMENTS = (
    _experiment(
        "table4",
        "Table 4",
        "SSP across tasks",
        "Pixel accuracy of SegNet-Basic on CamVid's test set, mAP50 of Mask-RCNN and RetinaNet on "
        "the MS-COCO validation set, under SSP at ε 8 and 16/255.",
        f"SegNet-Basic trained here; {_DETECTION}",
        (
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
        (
            *quote(
                "pixel accuracy", SSP_COLUMNS, {"Semantic Seg. · SegNet": (79.70, 52.48, 32.59)}
            ),
            *quote(
                "mAP50",
                SSP_COLUMNS,
                {
                    "Instance Seg. · Mask-RCNN": (56.8, 29.4, 8.8),
                    "Object Det. · RetinaNet": (53.78, 22.75, 5.16),
                    "Object Det. · Mask-RCNN": (59.50, 31.8, 9.7),
                },
            ),
        ),
    ),
    _experiment(
        "appendix-table4",
        "Appendix table 4",
        "SSP beside CDA on a detector",
        "mAP50 of Mask-RCNN on the MS-COCO validation set under CDA, trained in three domains, and "
        "under SSP (lower is a stronger attack).",
        f"{_DETECTION}; CDA of this package's one generator, trained on photographs",
        (
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
        quote(
            "mAP50",
            ("ε 8", "ε 16"),
            {
                "CDA-ImageNet": (35.2, 8.1),
                "CDA-Comics": (40.5, 16.8),
                "CDA-Paintings": (41.7, 14.8),
                "SSP": (31.8, 9.7),
            },
        ),
    ),
    _experiment(
        "appendix-table6",
        "Appendix table 6",
        "Input transformations against SSP, segmentation",
        "Pixel accuracy of SegNet-Basic on CamVid's test set under SSP, behind JPEG, TVM and "
        "median filters.",
        "SegNet-Basic trained here; NRP as an eighth row",
        (Part("segment", "SegNet", BUDGETS, {**TRANSFORMS, "NRP": "nrp"}, by_defense),),
        quote(
            "pixel accuracy",
            SSP_COLUMNS,
            {
                "No Defense": (79.70, 52.48, 32.59),
                "JPEG (q=75)": (77.25, 51.76, 32.44),
                "JPEG (q=50)": (75.27, 52.45, 33.16),
                "JPEG (q=20)": (68.82, 53.08, 35.54),
                "TVM (w=30)": (73.70, 55.54, 34.21),
                "TVM (w=10)": (70.38, 59.52, 34.57),
                "MF (win=3)": (75.65, 49.18, 30.52),
            },
        ),
    ),
    _experiment(
        "appendix-table7",
        "Appendix table 7",
        "Input transformations against SSP, detection",
        "mAP50 of RetinaNet on the MS-COCO validation set under SSP, behind JPEG, TVM and "
        "median filters.",
        "CenterNet (MobileNetV3) in place of RetinaNet; NRP as an eighth row",
        (Part("detect", "RetinaNet", BUDGETS, {**TRANSFORMS, "NRP": "nrp"}, by_defense),),
        quote(
            "mAP50",
            SSP_COLUMNS,
            {
                "No Defense": (53.78, 22.75, 5.16),
                "JPEG (q=75)": (49.57, 20.73, 4.7),
                "JPEG (q=50)": (46.36, 19.89, 4.33),
                "JPEG (q=20)": (40.04, 19.13, 4.58),
                "TVM (w=30)": (47.06, 27.63, 6.36),
                "TVM (w=10)": (42.79, 32.21, 9.56),
                "MF (win=3)": (43.48, 19.59, 5.05),
            },
        ),
    ),
)
