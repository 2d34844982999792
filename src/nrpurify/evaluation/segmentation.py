"""The task ``segment``: images with class masks, and segmenters that return logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.hashing import content_hashes, digest
from nrpurify.core.images import read_image
from nrpurify.data.masks import (
    CAMVID,
    ClassTable,
    Pair,
    Problem,
    count_problems,
    find_pairs,
    read_sample,
)
from nrpurify.defenses.chain import passes_of
from nrpurify.evaluation.plan import DataSpec
from nrpurify.evaluation.tasks import Samples, Task, register_task
from nrpurify.evaluation.visualize import class_picture, shares
from nrpurify.models.segmenters import CAMVID_CLASSES, Segmenter, load_segmenter

VOID = 255
"""The value of void pixels in masks that are not CamVid's."""


@register_task("segment", source="classes of pixels, by masks")
class Segment(Task):
    """Which class each pixel has."""

    default_victims = ("segnet-basic-camvid",)
    default_metrics = ("pixel-accuracy", "mIoU")
    needs = {"masks": "a folder of class masks"}  # noqa: RUF012 - as its base
    takes = ("masks",)
    keeps_size = True

    def open(self, data: DataSpec) -> Samples:
        """Pair images with masks by name; masks are read once the victims' classes are known."""
        pairs, problems = find_pairs(data.folder, data.masks)
        return _samples(Path(data.folder).name, pairs[: data.limit], problems, data.limit, None)

    def fit(self, victims: Mapping[str, nn.Module], samples: Samples, data: DataSpec) -> Samples:
        """Read all masks once; those that do not fit the victims' classes are left out.

        Samples of the caller's own are as they are: their masks are int64 H×W, with class numbers
        from 0 and :data:`~nrpurify.data.masks.IGNORED` for void.
        """
        if not samples.labeled or samples.read(0)[1] is not None:
            return samples
        known = {_names(victim) for victim in victims.values()}
        if len(known) > 1:
            raise InputError(
                "the victims have different classes; measure them in runs of their own"
            )
        table = table_of(known.pop())
        pairs, problems = find_pairs(data.folder, data.masks)
        usable = []
        for pair in pairs[: data.limit]:
            found = read_sample(pair, table)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                usable.append(pair)
        if not usable:
            raise InputError(f"no pair of image and mask can be used; {problems[-1].text}")
        return _samples(samples.folder, usable, problems, data.limit, table)

    def load_victim(self, spec: str, device: str) -> nn.Module:
        """Load a segmenter."""
        return load_segmenter(spec, device=device)

    def wrap_victim(self, model: Callable[..., Any], name: str, device: str) -> nn.Module:
        """A segmenter of the user's own."""
        if not isinstance(model, Segmenter):
            raise InputError(
                f"{name} is a {type(model).__name__}; expected a Segmenter, see as_segmenter"
            )
        return model.to(device)

    def predict_passes(self, victim: nn.Module, defense: nn.Module, images: Tensor) -> Tensor:
        """The mean of the logits over the passes, or each class's share of the votes."""
        count, combine = passes_of(defense)
        total = torch.zeros(())
        for _ in range(count):
            logits = victim(defense(images))
            total = (_votes(logits) if combine == "vote" else logits) + total.to(logits)
        return total / count

    def render(self, victim: nn.Module, image: Tensor, prediction: Any) -> tuple[Tensor, str]:
        """The image tinted by the class of each pixel, and the three largest classes."""
        classes = prediction.argmax(0).cpu()
        names = _names(victim)
        return class_picture(image, classes, names), shares(classes, names)

    def describe(self, victim: nn.Module, target: Any) -> str:
        """The three largest classes of a mask."""
        return shares(target, _names(victim))


def _names(victim: nn.Module) -> tuple[str, ...]:
    names: tuple[str, ...] = victim.classes  # type: ignore[assignment]
    return names


def _votes(logits: Tensor) -> Tensor:
    votes = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).to(logits)
    return votes.masked_fill(logits.isnan().any(1, keepdim=True), torch.nan)


def table_of(classes: tuple[str, ...]) -> ClassTable:
    """What masks of these classes hold: CamVid's table, or class numbers and 255 for void.

    Args:
        classes: Names, which count from 0.
    """
    return CAMVID if classes == CAMVID_CLASSES else ClassTable(classes, void=(VOID,))


def _samples(
    folder: str,
    pairs: list[Pair],
    problems: list[Problem],
    limit: int | None,
    table: ClassTable | None,
) -> Samples:
    """Pairs as samples; without a table masks are not read."""

    def read(index: int) -> tuple[Tensor, Tensor | None]:
        pair = pairs[index]
        if table is None:
            return read_image(pair.image).rgb, None
        found = read_sample(pair, table)
        if isinstance(found, Problem):
            raise InputError(f"{found.text}; it was usable a moment ago")
        return found.image, found.mask

    names: dict[str, list[str]] = {}
    for problem in problems:
        names.setdefault(problem.kind, []).append(problem.name)
    masks = content_hashes([pair.mask for pair in pairs])
    return Samples(
        [pair.image for pair in pairs],
        read,
        {"masks": digest(masks), "classes": None if table is None else list(table.names)},
        [pair.name for pair in pairs],
        folder,
        None,
        "the first with labels, in the order of their names" if limit else "all with labels",
        problems=_lines(problems),
        left_out=names,
        unreadable=[problem.text for problem in problems if problem.kind == "unreadable"],
    )


def _lines(problems: list[Problem]) -> list[str]:
    """One line a kind: the count, and the first of them."""
    first = {problem.kind: problem.text for problem in reversed(problems)}
    return [
        f"{number} × {kind}: {first[kind]}" + (f"; and {number - 1} more" if number > 1 else "")
        for kind, number in count_problems(problems).items()
    ]
