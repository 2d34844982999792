"""The tasks ``detect`` and ``instances``: images with objects, and detectors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.data.annotations import read_annotations
from nrpurify.data.detection import BROKEN, Problems, Scene, Scenes, Truth, readable
from nrpurify.evaluation.plan import DataSpec
from nrpurify.evaluation.tasks import Samples, Task, register_task
from nrpurify.evaluation.visualize import counted, detection_picture
from nrpurify.models.detectors import load_detector
from nrpurify.models.detectors.boxes import Detections
from nrpurify.models.detectors.zoo import as_detector

FAILED = (BROKEN, "image left out, its text file cannot be read")
"""Kinds of problems with files that are there and cannot be read."""


@register_task("detect", source="boxes of objects, by COCO or YOLO annotations")
class Detect(Task):
    """Where objects are."""

    default_victims: ClassVar[tuple[str, ...]] = ("coco_ssd",)
    default_metrics: ClassVar[tuple[str, ...]] = ("mAP",)
    needs = {"annotations": "a COCO file, or a folder of YOLO text files"}  # noqa: RUF012
    takes = ("annotations", "classes", "longest")
    keeps_size = True
    masks = False

    def open(self, data: DataSpec) -> Samples:
        """Read annotations, and each image once."""
        classes = Path(data.classes) if data.classes else None
        scenes = read_annotations(Path(data.annotations), Path(data.folder), classes)
        kept = usable(readable(Scenes(scenes.items[: data.limit], scenes.problems)), self.name)
        return scene_samples(kept, data, masks=self.masks)

    def load_victim(self, spec: str, device: str) -> nn.Module:
        """Load a detector."""
        return load_detector(spec, device=device)

    def wrap_victim(self, model: Callable[..., Any], name: str, device: str) -> nn.Module:
        """A detector of the user's own, from a list of images to torchvision's list of dicts."""
        detector = model if isinstance(model, nn.Module) else as_detector(model, name=name)
        return detector.to(device)

    def predict(self, victim: nn.Module, images: Tensor) -> list[Detections]:
        """Detections of N×3×H×W images."""
        return list(victim(list(images)))

    def shown(self, samples: Samples, count: int) -> list[int]:
        """The first images with objects."""
        if not samples.labeled:
            return super().shown(samples, count)
        full = (index for index in range(len(samples)) if len(samples.read(index)[1].labels))
        return list(islice(full, count))

    def render(self, victim: nn.Module, image: Tensor, prediction: Any) -> tuple[Tensor, str]:
        """Boxes with names and scores, and masks where there are any."""
        return detection_picture(image, prediction)

    def describe(self, victim: nn.Module, target: Any) -> str:
        """Which objects there are."""
        return counted(target.labels.tolist())


@register_task("instances", source="masks of objects, by outlines in the annotations")
class Instances(Detect):
    """Where objects are, pixel by pixel."""

    default_victims = ("torchvision:maskrcnn_resnet50_fpn",)
    default_metrics = ("mAP:kind=masks",)
    masks = True


def scene_samples(scenes: Scenes, data: DataSpec, *, masks: bool = False) -> Samples:
    """Scenes as samples, whose targets are :class:`~nrpurify.data.detection.Truth`.

    Scaled images are rounded to 8 bits, as files of them would be.

    Args:
        scenes: What is measured on.
        data: For ``folder``, ``limit`` and ``longest``.
        masks: Give the objects' masks too.
    """
    items = scenes.items

    def read(index: int) -> tuple[Tensor, Truth]:
        image, truth = items[index].read(data.longest, masks=masks)
        return from_uint8(to_uint8(image))[0], truth

    return Samples(
        [scene.path for scene in items],
        read,
        {"objects": [_told(scene) for scene in items], "longest": data.longest, "masks": masks},
        [scene.name for scene in items],
        Path(data.folder).name,
        None,
        "the first with labels, in the order of the annotations"
        if data.limit
        else "all with labels",
        problems=scenes.problems.lines(),
        left_out=scenes.problems.found,
        unreadable=[text for kind in FAILED for text in scenes.problems.found.get(kind, [])],
    )


def _told(scene: Scene) -> dict[str, Any]:
    """All of a scene, besides its file, that decides what is measured on it."""
    return {
        "name": scene.name,
        "boxes": scene.boxes.tolist(),
        "labels": scene.labels.tolist(),
        "crowd": scene.crowd.tolist(),
        "outlines": None if scene.outlines is None else list(scene.outlines),
    }


def usable(scenes: Scenes, task: str) -> Scenes:
    """The scenes that a task can be measured on; for ``instances`` those without outlines go.

    What goes is counted and named in the problems of the scenes returned.

    Args:
        scenes: As read.
        task: ``detect`` or ``instances``.

    Raises:
        InputError: No scene is left, or none of them has an object.
    """
    problems = Problems({kind: list(cases) for kind, cases in scenes.problems.found.items()})
    items = []
    for scene in scenes.items:
        if task == "instances" and scene.outlines is None:
            problems.add("image left out, it has no outlines", scene.name)
        else:
            items.append(scene)
    said = "".join(f"; {line}" for line in problems.lines())
    if not items:
        raise InputError(f"no image to evaluate {task!r} on{said}")
    if all(bool(scene.crowd.all()) for scene in items):  # of no object all are crowds
        raise InputError(
            f"no image of {len(items)} has an object; mAP needs some: do the annotations "
            f"belong to these images?{said}"
        )
    return Scenes(items, problems)
