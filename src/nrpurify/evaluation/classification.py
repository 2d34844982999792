"""The task ``classify``: labeled images, and classifiers that return logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nrpurify.core.config import RecipeError, at, shown
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import LeftOut, log_left_out
from nrpurify.core.images import load_batch
from nrpurify.data.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.defenses import protect
from nrpurify.evaluation.label_check import FIRST, check_labels
from nrpurify.evaluation.plan import DataSpec
from nrpurify.evaluation.tasks import Samples, Task, register_task
from nrpurify.models.victims import class_name

VICTIMS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "mobilenet_v1_025",
)
"""Classifiers that no default attack sees; the shipped purifier saw one, SqueezeNet."""


@register_task("classify", source="classes of images, by a table or sub-folders")
class Classify(Task):
    """Which class an image has."""

    default_victims = VICTIMS
    default_metrics = ("accuracy",)
    takes = ("labels", "classes", "size", "check_labels")
    class_labels = one_size = True

    def open(self, data: DataSpec) -> Samples:
        """Read each image once; labels come from a table or from sub-folders."""
        return open_labeled(data, None)

    def check(
        self, victims: Mapping[str, nn.Module], samples: Samples, data: DataSpec, device: str
    ) -> dict[str, dict[str, Any]]:
        """Compare labels with what the undefended victims say of the first images."""
        first, _ = samples.batch(0, FIRST, device, class_labels=True)
        labels = samples.identity.get("labels")
        if not isinstance(labels, list | tuple) or len(labels) < len(samples):
            raise InputError(
                f"the samples' identity has the 'labels' {shown(labels)}; expected a list of the "
                f"class of each of the {len(samples)} images: Samples(paths, read, "
                "{'labels': [0, ...]})"
            )
        highest = max(labels)
        found = check_labels(victims, first, highest, chance=data.check_labels)
        return {name: {"classes": count} for name, count in found.items()}

    def predict_passes(self, victim: nn.Module, defense: nn.Module, images: Tensor) -> Tensor:
        """The mean of the logits, or each class's share of the votes."""
        return protect(victim, defense)(images)  # type: ignore[no-any-return]

    def render(self, victim: nn.Module, image: Tensor, prediction: Any) -> tuple[Tensor, str]:
        """The image, and the most likely class with its probability."""
        share, index = (float(value) for value in prediction.softmax(0).max(0))
        return image, f"{class_name(int(index), len(prediction))} ({share:.0%})"

    def describe(self, victim: nn.Module, target: Any) -> str:
        """The name of a class."""
        return class_name(int(target), getattr(victim, "num_classes", None) or 0)

    def is_right(self, prediction: Any, target: Any) -> bool | None:
        """Whether the most likely class is the target."""
        return int(prediction.argmax()) == int(target)


def open_labeled(given: DataSpec, items: Sequence[LabeledImage] | None) -> Samples:
    """Find, read once and hash labeled images.

    Args:
        given: Where they are, and their size.
        items: In place of its folder and labels.

    Raises:
        RecipeError: No images, or none that can be read.
    """
    left_out: list[LeftOut] = []
    found, notes = _items(given, items, left_out)
    log_left_out([left for left in left_out if not left.lost])
    broken = [f"cannot read {left}" for left in left_out if left.lost]
    chosen = _readable(found[: given.limit], given.size, broken)
    if not chosen:
        raise RecipeError(
            (("data", "folder"), f"no image can be read, mend them: {'; '.join(broken[:3])}")
        )
    size = given.size

    def read(index: int) -> tuple[Tensor, int]:
        item = chosen[index]
        return load_batch([item.path], size, crop=True)[0], item.label

    return Samples(
        [item.path for item in chosen],
        read,
        {"labels": [item.label for item in chosen], "size": size},
        folder=Path(given.folder).name or chosen[0].path.parent.name,
        size=size,
        rule=f"the first {len(chosen)} of {len(found)} labeled images, in the order of their paths",
        notes=notes,
        problems=[f"{len(broken)} left out: {'; '.join(broken)}"] if broken else [],
        unreadable=broken,
    )


def _items(
    given: DataSpec, items: Sequence[LabeledImage] | None, left_out: list[LeftOut]
) -> tuple[list[LabeledImage], list[str]]:
    if items is not None:
        if not items:
            raise RecipeError((("data",), "no labeled image was given; expected at least one"))
        return list(items), []
    if not given.folder:
        raise RecipeError((("data", "folder"), "is missing; expected a folder of images"))
    if given.labels and given.classes:
        problem = "goes with one sub-folder a class; leave it or labels out"
        raise RecipeError((("data", "classes"), problem))
    if given.labels:
        with at("data", "labels"):
            paired = labeled_images(given.folder, given.labels, left_out=left_out)
        return paired.items, paired.notes()
    with at("data", "classes" if given.classes else "folder"):
        found, _ = read_labeled_folder(given.folder, given.classes or None, left_out=left_out)
        return found, []


def _readable(items: Sequence[LabeledImage], size: int, broken: list[str]) -> list[LabeledImage]:
    kept = []
    for item in items:
        try:
            load_batch([item.path], size, crop=True)
            kept.append(item)
        except ImageError as error:
            broken.append(str(error))
    return kept
