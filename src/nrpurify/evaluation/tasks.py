"""What is asked of models: a task reads images with their targets, and asks its victims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from nrpurify import models
from nrpurify.core.errors import InputError
from nrpurify.core.hashing import content_hashes
from nrpurify.core.registry import Registry
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.plan import DataSpec

T = TypeVar("T", bound="type[Task]")


@dataclass
class Samples:
    """Images with their targets, read when they are needed.

    Attributes:
        paths: The image files.
        read: Gives the 3×H×W image in [0, 1] and the target of a number from 0.
        identity: Plain values that decide the targets, and how images are read.
        names: What messages and pictures call the images; by default the files' names.
        folder: Name of the folder.
        size: Side of the images in pixels; None where each has its own.
        rule: How they were chosen.
        notes: What the user should know.
        problems: What was left out of images and targets, a short line a kind.
        left_out: The names of all of it, by kind.
        unreadable: Files that are there and cannot be read, with reasons; they are in no number.
        labeled: Whether there are targets; without them pictures can be made, and no results.
    """

    paths: list[Path]
    read: Callable[[int], tuple[Tensor, Any]]
    identity: Mapping[str, Any]
    names: list[str] = field(default_factory=list)
    folder: str = ""
    size: int | None = None
    rule: str = ""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    labeled: bool = True
    hashes: list[str] = field(init=False)
    keys: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Hash the files, and give each image a key for the names of files made of it."""
        self.names = self.names or [path.name for path in self.paths]
        self.hashes = content_hashes(self.paths)
        stems = (path.stem[:60] for path in self.paths)
        self.keys = [f"{index:05d}-{stem}" for index, stem in enumerate(stems)]

    def __len__(self) -> int:
        return len(self.paths)

    def without(self, reasons: Mapping[int, str]) -> Samples:
        """The samples but for some, which count as unreadable for the ``reasons`` given."""
        if not reasons:
            return self
        kept = [index for index in range(len(self)) if index not in reasons]
        read = self.read
        return Samples(
            [self.paths[index] for index in kept],
            lambda place: read(kept[place]),
            {**self.identity, "kept": kept},
            [self.names[index] for index in kept],
            self.folder,
            self.size,
            self.rule,
            self.notes,
            [*self.problems, *reasons.values()],
            {**self.left_out, "attacked image cannot be read": list(reasons.values())},
            [*self.unreadable, *reasons.values()],
            self.labeled,
        )

    def batch(
        self, start: int, end: int, device: str, class_labels: bool
    ) -> tuple[Batch, list[Any]]:
        """Images ``start`` to ``end``, which have one size, and their targets."""
        rows = [self.read(index) for index in range(start, min(end, len(self)))]
        targets = [target for _, target in rows]
        labels = torch.tensor(targets if class_labels else [0] * len(rows), device=device)
        images = torch.stack([image for image, _ in rows]).to(device)
        return Batch(images, labels, self.keys[start:end]), targets


class Task:
    """The base of tasks: subclass it, and register it with :func:`register_task`.

    A task's settings are the parameters of its ``__init__``.

    Attributes:
        name: As registered.
        default_victims: Specs that :meth:`load_victim` takes.
        default_metrics: Names or specs of metrics.
        needs: The fields of :class:`~nrpurify.evaluation.plan.DataSpec` that it cannot do without,
            with what they are.
        takes: All fields that it reads, beside ``folder`` and ``limit``.
        class_labels: Whether targets are class numbers from 0, and victims return logits: then
            attacks on classifiers work, on the defended victim too.
        one_size: Whether all images have one size and predictions are tensors of N rows, so that
            several go through networks together.
        keeps_size: Whether defenses must keep the images' size.
    """

    name: ClassVar[str] = "task"
    default_victims: ClassVar[tuple[str, ...]] = ()
    default_metrics: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, str]] = {}
    takes: ClassVar[tuple[str, ...]] = ()
    class_labels: ClassVar[bool] = False
    one_size: ClassVar[bool] = False
    keeps_size: ClassVar[bool] = False

    def open(self, data: DataSpec) -> Samples:
        """Find the images and their targets; what cannot be used is counted and named.

        Raises:
            InputError: There is nothing to measure on.
        """
        raise NotImplementedError

    def load_victim(self, spec: str, device: str) -> nn.Module:
        """Load a model by its spec, in eval mode; by default a classifier.

        Raises:
            InputError: No such model.
            WeightsError: Weights could not be found or downloaded.
        """
        return models.load_classifier(spec).to(device)

    def wrap_victim(self, model: Callable[..., Any], name: str, device: str) -> nn.Module:
        """Make a model of the user's own a victim."""
        return models.as_classifier(model, name=name).to(device)

    def fit(self, victims: Mapping[str, nn.Module], samples: Samples, data: DataSpec) -> Samples:
        """The samples that fit the victims; by default all of them.

        Raises:
            InputError: None fits.
        """
        return samples

    def check(
        self, victims: Mapping[str, nn.Module], samples: Samples, data: DataSpec, device: str
    ) -> dict[str, dict[str, Any]]:
        """Look whether victims and samples fit before hours are spent; facts by victim.

        Raises:
            InputError: They do not fit.
        """
        return {name: {} for name in victims}

    def predict(self, victim: nn.Module, images: Tensor) -> Sequence[Any] | Tensor:
        """What a victim returns for N×3×H×W images in [0, 1]: N predictions."""
        return victim(images)  # type: ignore[no-any-return]

    def predict_passes(
        self, victim: nn.Module, defense: nn.Module, images: Tensor
    ) -> Sequence[Any] | Tensor:
        """The same behind a defense of several passes.

        Raises:
            InputError: The task has no mean of predictions.
        """
        raise InputError(f"predictions of several passes cannot be averaged for {self.name}")

    def check_passes(self, spec: str, passes: int) -> None:
        """Raise InputError for a defense of more passes than the task can average."""
        if passes > 1 and type(self).predict_passes is Task.predict_passes:
            raise InputError(
                f"{spec} asks for {passes} passes; the predictions of several passes cannot be "
                f"averaged, so {self.name} takes defenses with passes=1 (classify and segment "
                "average)"
            )

    def shown(self, samples: Samples, count: int) -> list[int]:
        """The numbers of the images for pictures; by default the first."""
        return list(range(len(samples)))[:count]

    def render(self, victim: nn.Module, image: Tensor, prediction: Any) -> tuple[Tensor, str]:
        """A picture 3×h×w of what a victim sees in a 3×H×W image, and a caption."""
        return image, ""

    def describe(self, victim: nn.Module, target: Any) -> str:
        """A target in words."""
        return str(target)

    def is_right(self, prediction: Any, target: Any) -> bool | None:
        """Whether a prediction is right, where that is a question of yes or no."""
        return None


TASKS: Registry[Task] = Registry("task", package="nrpurify.evaluation", group="nrpurify.tasks")


def register_task(name: str, *, source: str = "") -> Callable[[T], T]:
    """Decorate a class of :class:`Task` to make it known by name to plans and ``--task``.

    Args:
        name: What plans call it.
        source: What it is, in a few words, for ``nrpurify list tasks``.

    Raises:
        InputError: The name is taken by another module.

    Examples:
        >>> from nrpurify.evaluation.classification import Classify
        >>> @nrpurify.register_task("sort", source="an example")
        ... class Sort(Classify):
        ...     '''Classification with another metric.'''
        ...     default_metrics = ("top5",)
        >>> Sort.name
        'sort'
    """

    def decorate(task: T) -> T:
        task.name = name
        return TASKS.register(name, source=source)(task)

    return decorate
