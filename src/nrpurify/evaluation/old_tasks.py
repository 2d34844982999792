"""Functions of 0.1.0's ``nrpurify.tasks``. They work until 0.3, as plans with a ``task``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nrpurify.core.errors import InputError
from nrpurify.data.detection import Scenes
from nrpurify.evaluation.detection import scene_samples, usable
from nrpurify.evaluation.plan import DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation.runner import run
from nrpurify.models.features import FeatureExtractor
from nrpurify.models.segmenters import Segmenter
from nrpurify.results import Result

USE = "use nrpurify.evaluate(EvaluationPlan(...), models={...}), whose defenses are specs"


@dataclass(frozen=True)
class DetectionPlan:
    """How detection was evaluated: fields of today's plan, data and metric."""

    task: str = "detect"
    longest: int | None = None
    rounding: str = "uint8"
    seed: int = 0
    resamples: int = 1000
    device: str = "cpu"


@dataclass(frozen=True)
class LabeledFolder:
    """A folder of images and one of masks."""

    images: str
    masks: str
    limit: int | None = None

    @classmethod
    def read(cls, images: str | Path, masks: str | Path, limit: int | None = None) -> LabeledFolder:
        """Name both folders; they are read when they are evaluated."""
        return cls(str(images), str(masks), limit)


def ssp_attack(
    extractor: FeatureExtractor,
    *,
    eps: float,
    steps: int = 100,
    surrogate: str = "vgg16",
    **options: Any,
) -> PlannedAttack:
    """SSP on whole images, at the layers of ``extractor`` in the network ``surrogate``."""
    known = {"layer": tuple(extractor.layers), "steps": steps, **options}
    return PlannedAttack("ssp", (eps,), surrogate=(surrogate,), **known)


def Attacked(  # noqa: N802 - a class of 0.1.0
    attack: str, eps: float, images: str | Path, **known: Any
) -> PlannedAttack:
    """Images attacked before, in a folder; its manifest has what ``known`` told."""
    if not isinstance(images, str | Path):
        raise InputError("images is a function; give the folder of attacked images")
    return PlannedAttack(eps=(eps,), attacked=str(images), label=attack)


def evaluate_detection(
    detector: Callable[..., Any],
    scenes: Scenes,
    defenses: Iterable[str],
    attacks: Sequence[PlannedAttack] = (),
    *,
    victim: str,
    plan: DetectionPlan | None = None,
) -> list[Result]:
    """Measure a detector behind defenses, which go by their specs."""
    old = plan or DetectionPlan()
    masks = old.task == "instances"
    data = DataSpec(longest=old.longest)
    metric = f"mAP:kind={'masks' if masks else 'boxes'},resamples={old.resamples}"
    samples = scene_samples(usable(scenes, old.task), data, masks=masks)
    settings = {"task": old.task, "metrics": (metric,), "rounding": old.rounding, "seed": old.seed}
    return _cells(DataSpec(), {victim: detector}, defenses, attacks, settings, old.device, samples)


def evaluate_segmentation(
    segmenter: Segmenter,
    folder: LabeledFolder,
    defenses: Iterable[str],
    attacked: Sequence[PlannedAttack] = (),
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Result]:
    """Measure a segmenter behind defenses, which go by their specs."""
    data = DataSpec(folder.images, masks=folder.masks, limit=folder.limit)
    settings = {"task": "segment", "seed": seed}
    return _cells(data, {"segmenter": segmenter}, defenses, attacked, settings, str(device))


def _cells(
    data: DataSpec,
    models: Mapping[str, Callable[..., Any]],
    defenses: Iterable[str],
    attacks: Sequence[PlannedAttack],
    settings: Mapping[str, Any],
    device: str,
    items: Any = None,
) -> list[Result]:
    specs = tuple(dict.fromkeys(("none", *defenses)))
    plan = EvaluationPlan(data, tuple(models), tuple(attacks), specs, **settings)
    try:
        return list(run(plan, models=models, items=items, device=device).cells)
    except InputError as error:
        raise InputError(f"{error}; {USE}") from error
