"""The victims of other tasks together with their labeled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.hashing import content_hashes, digest
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.versions import versions
from nrpurify.data.annotations import read_annotations
from nrpurify.data.detection import BROKEN, Scene, Scenes, readable
from nrpurify.data.masks import CAMVID, ClassTable, Problem, count_problems
from nrpurify.evaluation.cache import unreadable
from nrpurify.models.detectors import load_detector
from nrpurify.models.segmenters import CAMVID_CLASSES, Segmenter, load_segmenter
from nrpurify.results import Result
from nrpurify.tasks.detection import CLEAN as SCENES_CLEAN
from nrpurify.tasks.detection import (
    DetectionPlan,
    SceneAttack,
    cell_ids,
    evaluate_detection,
    usable,
)
from nrpurify.tasks.looks import Look, counted, detector_look, segmenter_look, shares
from nrpurify.tasks.plan import TaskPlan
from nrpurify.tasks.segmentation import LabeledFolder, evaluate_segmentation
from nrpurify.tasks.segmentation_cells import CLEAN, Attacked, CellMaker
from nrpurify.tasks.strips import SHOWN, View

VOID = 255
"""The value of void pixels in masks that are not CamVid's."""
FAILED = (BROKEN, "image left out, its text file cannot be read", "unreadable")
"""Kinds of problems with files that are there and cannot be read."""
Finished = Callable[[list[Result]], object]
Watch = Callable[[str, int, int], None]


class Victim(Protocol):
    """A model of one task, ready to be measured on its images."""

    @property
    def network(self) -> nn.Module:
        """The model."""

    @property
    def look(self) -> Look:
        """Draws what the model sees."""

    @property
    def problems(self) -> list[str]:
        """What was left out of the images and their labels, in a short line a kind."""

    @property
    def left_out(self) -> dict[str, list[str]]:
        """The names of all of it, by kind."""

    def views(self) -> Iterator[View]:
        """The first images, for pictures."""

    def measure(
        self,
        defenses: Mapping[str, nn.Module],
        attacks: Sequence[Attacked],
        hashes: Mapping[str, str],
        before: Sequence[Result],
        finished: Finished,
        watch: Watch,
    ) -> list[Result]:
        """All cells; those ``before`` that still hold are kept, ``finished`` sees what is there."""


def open_victim(plan: TaskPlan) -> Victim:
    """Load the plan's model and read its labeled images.

    Raises:
        InputError: An unknown model, or images and labels that cannot be used.
        MissingExtraError: A library of the extras is needed.
        WeightsError: Weights are not to be had.
    """
    if plan.task == "segment":
        segmenter = load_segmenter(plan.model, device=plan.device)
        assert plan.masks is not None
        table = table_of(segmenter)
        folder = LabeledFolder.read(plan.images, plan.masks, table, plan.limit)
        reasons = _unreadable(plan, [pair.name for pair in folder.pairs])
        lost = [Problem("unreadable", name, text) for name, text in reasons.items()]
        pairs = [pair for pair in folder.pairs if pair.name not in reasons]
        return SegmentVictim(
            plan, segmenter, replace(folder, pairs=pairs, problems=[*folder.problems, *lost])
        )
    assert plan.annotations is not None
    scenes = read_annotations(plan.annotations, plan.images)
    kept = usable(readable(Scenes(scenes.items[: plan.limit], scenes.problems)), plan.task)
    reasons = _unreadable(plan, [scene.name for scene in kept.items])
    for text in reasons.values():
        kept.problems.add(BROKEN, text)
    kept = Scenes([scene for scene in kept.items if scene.name not in reasons], kept.problems)
    return DetectVictim(plan, load_detector(plan.model, device=plan.device), kept)


def _unreadable(plan: TaskPlan, names: Sequence[str]) -> dict[str, str]:
    """The images whose attacked ones were made before and cannot be read, with reasons.

    Raises:
        InputError: One is missing, or none can be read.
    """
    reasons = {} if plan.attacked is None else unreadable(plan.attacked, names)
    if names and len(reasons) == len(names):
        raise InputError(
            f"none of the {len(names)} attacked images can be read; {reasons[names[0]]}"
        )
    return reasons


def table_of(segmenter: Segmenter) -> ClassTable:
    """What masks of a segmenter's classes hold: CamVid's table, or class numbers and 255 for void.

    Args:
        segmenter: Whose classes count from 0.
    """
    if segmenter.classes == CAMVID_CLASSES:
        return CAMVID
    return ClassTable(segmenter.classes, void=(VOID,))


class _Kept:
    """Cells by their ids: those of before that still hold, and new ones as they are measured.

    Args:
        wanted: The ids of all cells, in their order.
        before: Cells of an earlier run.
        finished: Sees what is there after each new one.
    """

    def __init__(self, wanted: Sequence[str], before: Sequence[Result], finished: Finished) -> None:
        self._wanted, self._finished = wanted, finished
        self._cells = {cell.id: cell for cell in before if cell.id in wanted}

    @property
    def known(self) -> list[str]:
        """The ids of what is there."""
        return list(self._cells)

    def take(self, cell: Result) -> None:
        """Add a new cell."""
        self._cells[cell.id] = cell
        self._finished(list(self._cells.values()))

    def cells(self) -> list[Result]:
        """All of them, in their order."""
        return [self._cells[name] for name in self._wanted]


@dataclass(frozen=True)
class DetectVictim:
    """A detector and scenes."""

    plan: TaskPlan
    network: nn.Module
    scenes: Scenes

    @property
    def look(self) -> Look:
        """Boxes with names and scores, and masks where there are any."""
        return detector_look(self.network)

    @property
    def problems(self) -> list[str]:
        """See :class:`Victim`."""
        return self.scenes.problems.lines()

    @property
    def left_out(self) -> dict[str, list[str]]:
        """See :class:`Victim`."""
        return self.scenes.problems.found

    def views(self) -> Iterator[View]:
        """The first scenes with objects, on the grid of 8 bits."""
        for scene in islice((s for s in self.scenes.items if len(s.labels)), SHOWN):
            image, truth = scene.read(self.plan.longest)
            rounded = from_uint8(to_uint8(image)).to(self.plan.device)
            yield View(scene.name, rounded, counted(truth.labels.tolist()))

    def measure(
        self,
        defenses: Mapping[str, nn.Module],
        attacks: Sequence[Attacked],
        hashes: Mapping[str, str],
        before: Sequence[Result],
        finished: Finished,
        watch: Watch,
    ) -> list[Result]:
        """What is not among the cells ``before`` by its id, which tells all that decides it."""
        basis = {"weights": dict(hashes), "scenes": self._scenes(), "versions": versions()}
        plan, name = self._detection, self.plan.model
        chosen = [SceneAttack.of(attack) for attack in attacks]
        wanted = [
            found
            for attack in (SCENES_CLEAN, *chosen)
            for defense in dict.fromkeys(("none", *defenses))
            for found in cell_ids(attack, defense, name, plan, basis).values()
        ]
        kept = _Kept(wanted, before, finished)
        evaluate_detection(
            self.network,
            self.scenes,
            defenses,
            chosen,
            victim=name,
            plan=plan,
            basis=basis,
            known=kept.known,
            finished=kept.take,
            watch=watch,
        )
        return kept.cells()

    @property
    def _detection(self) -> DetectionPlan:
        plan = self.plan
        return DetectionPlan(
            plan.task,
            plan.longest,
            seed=plan.seed,
            resamples=plan.resamples,
            device=plan.device,
        )

    def _scenes(self) -> str:
        scenes = self.scenes.items
        hashes = content_hashes([scene.path for scene in scenes])
        return digest([_told(*pair) for pair in zip(scenes, hashes, strict=True)])


def _told(scene: Scene, sha256: str) -> dict[str, Any]:
    """All of a scene that decides what is measured on it."""
    return {
        "name": scene.name,
        "file": sha256,
        "boxes": scene.boxes.tolist(),
        "labels": scene.labels.tolist(),
        "crowd": scene.crowd.tolist(),
        "outlines": None if scene.outlines is None else list(scene.outlines),
    }


@dataclass(frozen=True)
class SegmentVictim:
    """A segmenter and images with class masks."""

    plan: TaskPlan
    network: Segmenter
    images: LabeledFolder

    @property
    def look(self) -> Look:
        """Pixels tinted by their classes."""
        return segmenter_look(self.network)

    @property
    def problems(self) -> list[str]:
        """See :class:`Victim`."""
        kinds = count_problems(self.images.problems)
        first = {problem.kind: problem.text for problem in reversed(self.images.problems)}
        return [
            f"{number} × {kind}: {first[kind]}" + (f"; and {number - 1} more" if number > 1 else "")
            for kind, number in kinds.items()
        ]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """See :class:`Victim`."""
        names: dict[str, list[str]] = {}
        for problem in self.images.problems:
            names.setdefault(problem.kind, []).append(problem.name)
        return names

    def views(self) -> Iterator[View]:
        """The first images."""
        for sample in islice(self.images.samples(), SHOWN):
            label = shares(sample.mask, self.images.table.names)
            yield View(sample.name, sample.image[None].to(self.plan.device), label)

    def measure(
        self,
        defenses: Mapping[str, nn.Module],
        attacks: Sequence[Attacked],
        hashes: Mapping[str, str],
        before: Sequence[Result],
        finished: Finished,
        watch: Watch,
    ) -> list[Result]:
        """What is not among the cells ``before`` by its id, which tells all that decides it."""
        basis = {"weights": dict(hashes), "files": self._files(), "versions": versions()}
        wanted = self._ids(defenses, attacks, basis)
        kept = _Kept(wanted, before, finished)
        evaluate_segmentation(
            self.network,
            self.images,
            defenses,
            attacks,
            seed=self.plan.seed,
            device=self.plan.device,
            basis=basis,
            known=kept.known,
            finished=kept.take,
            watch=lambda done, total: watch(self.plan.task, done, total),
        )
        return kept.cells()

    def _files(self) -> str:
        files = [path for pair in self.images.pairs for path in (pair.image, pair.mask)]
        return digest(content_hashes(files))

    def _ids(
        self,
        defenses: Mapping[str, nn.Module],
        attacks: Sequence[Attacked],
        basis: Mapping[str, object],
    ) -> list[str]:
        names = [pair.name for pair in self.images.pairs]
        maker = CellMaker(self.network.name, names, self.images.problems, basis, self.plan.seed)
        conditions = (CLEAN, *attacks)
        return [n for c in conditions for d in defenses for n in maker.ids(c, d).values()]
