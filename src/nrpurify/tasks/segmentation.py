"""Segmenters under attack and behind defenses: a cell for each of both and each metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.data.masks import CAMVID, ClassTable, Pair, Problem, Sample, find_pairs, read_sample
from nrpurify.evaluation.finite import check_finite
from nrpurify.evaluation.harness import Batch, ImageMap, check_budget
from nrpurify.evaluation.profiler import Meter
from nrpurify.models.segmenters import Segmenter
from nrpurify.results import Result
from nrpurify.tasks import draws
from nrpurify.tasks.segmentation_cells import CLEAN, Attacked, CellMaker
from nrpurify.tasks.segmentation_metrics import confusion


@dataclass(frozen=True)
class LabeledFolder:
    """The usable pairs of a folder of images and one of masks, and what is wrong with the others.

    Attributes:
        pairs: Sorted by name.
        problems: Files that are in no number, each with its reason.
        table: What the masks' values mean.
    """

    pairs: list[Pair]
    problems: list[Problem]
    table: ClassTable = CAMVID

    @classmethod
    def read(
        cls,
        images: str | Path,
        masks: str | Path,
        table: ClassTable = CAMVID,
        limit: int | None = None,
    ) -> LabeledFolder:
        """Look at all images and masks once.

        Args:
            images: Folder of images.
            masks: Folder of their class masks, see :func:`nrpurify.data.masks.read_mask`.
            table: What the masks' values mean.
            limit: Take the first so many pairs, in the order of their names.

        Raises:
            InputError: A folder that cannot be used, or no usable pair.
        """
        pairs, problems = find_pairs(images, masks)
        usable = []
        for pair in pairs[:limit]:
            found = read_sample(pair, table)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                usable.append(pair)
        if not usable:
            raise InputError(f"no pair of image and mask can be used; {problems[-1].text}")
        return cls(usable, problems, table)

    def samples(self) -> Iterator[Sample]:
        """Read the pairs one after another.

        Raises:
            InputError: One of them was changed and cannot be used any more.
        """
        for pair in self.pairs:
            found = read_sample(pair, self.table)
            if isinstance(found, Problem):
                raise InputError(f"{found.text}; it was usable a moment ago")
            yield found


Watch = Callable[[int, int], None]
"""Called with (images done, images in all), an image counting once for each condition."""


@torch.no_grad()
def evaluate_segmentation(
    segmenter: Segmenter,
    folder: LabeledFolder,
    defenses: Mapping[str, ImageMap],
    attacked: Sequence[Attacked] = (),
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    basis: Mapping[str, Any] | None = None,
    known: Collection[str] = (),
    finished: Callable[[Result], None] | None = None,
    watch: Watch | None = None,
) -> list[Result]:
    """Measure a segmenter on clean and attacked images behind each defense, image by image.

    Args:
        segmenter: The victim.
        folder: Images and masks; their table's classes must be the segmenter's.
        defenses: By their specs; each maps 1×3×H×W images in [0, 1] to the same. What is random
            draws the same under every condition; several passes are averaged, or vote.
        attacked: Attacked images; clean ones always come first.
        seed: Of the bootstrap.
        device: Where to work.
        basis: What else decides the values, such as hashes of weights; goes into the cells' ids.
        known: Ids of cells that were measured before and are left out.
        finished: Called with each cell as soon as it is measured.
        watch: Sees progress.

    Returns:
        For each condition and defense two cells, pixel accuracy and mIoU, void ignored, with 95 %
        bootstrap intervals over the images. What was left out is counted in their notes.

    Raises:
        InputError: Classes or attacked images that cannot be used.
        AssertionError: An attacked image outside its budget.
    """
    if len(segmenter.classes) != len(folder.table.names):
        raise InputError(
            f"{segmenter.name} has {len(segmenter.classes)} classes, the masks' table "
            f"{len(folder.table.names)}; give the table of the segmenter's classes"
        )
    names = [pair.name for pair in folder.pairs]
    maker = CellMaker(segmenter.name, names, folder.problems, dict(basis or {}), seed)
    victim, place, cells = segmenter.to(device), torch.device(device), []
    conditions, again = (CLEAN, *attacked), draws.remembered(defenses)
    for index, condition in enumerate(conditions):
        wanted = {d for d in defenses if not set(maker.ids(condition, d).values()) <= set(known)}
        chosen = {name: defense for name, defense in defenses.items() if name in wanted}
        again()
        shown = _shifted(watch, index * len(names), len(conditions) * len(names))
        for name, (counts, spent) in _measure(
            victim, folder, condition, chosen, place, shown
        ).items():
            for cell in maker.cells(condition, name, counts, spent):
                cells.append(cell)
                if finished is not None:
                    finished(cell)
    return cells


def _shifted(watch: Watch | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: watch(before + done, total) if watch is not None else None


def _measure(
    segmenter: Segmenter,
    folder: LabeledFolder,
    condition: Attacked,
    defenses: Mapping[str, ImageMap],
    device: torch.device,
    watch: Callable[[int], None],
) -> dict[str, tuple[Tensor, dict[str, Any]]]:
    """Confusion counts N×C×C, time and memory by defense; images are read once for all."""
    if not defenses:
        return {}
    counts: dict[str, list[Tensor]] = {name: [] for name in defenses}
    seconds = dict.fromkeys(defenses, 0.0)
    with Meter(str(device)) as meter:
        for done, sample in enumerate(folder.samples(), 1):
            images = _images(sample, condition, device)
            for name, defense in defenses.items():
                begun = time.perf_counter()
                logits = draws.scores(segmenter, defense, images)
                predicted = logits.argmax(1).cpu()
                seconds[name] += time.perf_counter() - begun
                check_finite(logits, [sample.name], f"logits of {segmenter.name}", name)
                found = confusion(predicted, sample.mask[None], len(segmenter.classes))
                counts[name].append(found)
            watch(done)
    return {
        name: (
            torch.cat(parts),
            {
                "draws": draws.passes(defenses[name]),
                "seconds": round(seconds[name], 3),
                "peak_memory_mb": meter.peak_memory_mb,
            },
        )
        for name, parts in counts.items()
    }


def _images(sample: Sample, condition: Attacked, device: torch.device) -> Tensor:
    clean = sample.image[None].to(device)
    changed = condition.images(Batch(clean, sample.mask[None], [sample.name]))
    if condition.eps is not None:
        check_budget(clean, changed, condition.eps)
    return changed
