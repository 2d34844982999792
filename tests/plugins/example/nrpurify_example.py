"""A plug-in as anyone may write it: one of each kind that can be added, in one file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify import (
    register_attack,
    register_defense,
    register_metric,
    register_purifier,
    register_task,
    register_victim,
)
from nrpurify.attacks.base import Attack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.core.hashing import content_hashes
from nrpurify.core.images import load_batch
from nrpurify.data.labels import read_labeled_folder
from nrpurify.evaluation import DataSpec, Samples, Task
from nrpurify.results import Estimate, share
from nrpurify.weights import Preprocessing


@register_attack("one-color", source="test", needs="none")
class OneColor(Attack):
    """All pixels brighter or darker by eps, within [0, 1]; ``model`` and ``labels`` are ignored."""

    darker: bool = False

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Change the images; the base keeps the budget."""
        step = -1.0 if self.darker else 1.0
        return problem.project(problem.clean + step)


@register_defense("posterize", source="control", differentiable=False)
class Posterize(nn.Module):
    """Round each channel to a few levels."""

    def __init__(self, levels: int = 8) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same."""
        return (images * (self.levels - 1)).round() / (self.levels - 1)


@register_purifier("two-convolutions")
class TwoConvolutions(nn.Module):
    """A purifier network of two convolutions, which starts as the identity."""

    multiple, radius = 1, 2

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same shape."""
        return images + self.second(torch.relu(self.first(images)))


@register_victim("brightest-channel")
def brightest_channel(sharpness: float = 1.0) -> tuple[nn.Module, Preprocessing]:
    """A classifier of three classes, the channels, for images of 8 pixels."""
    head = nn.Linear(3, 3)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    head.weight.data *= sharpness
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return network, Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), size=8)


@register_task("retrieve", source="images of the same class, nearest first")
class Retrieve(Task):
    """Image retrieval: each second image of a class is a query for the others.

    Victims return a vector for each image; the gallery that is searched stays clean.
    """

    default_metrics = ("recall",)
    takes = ("size",)
    one_size = True

    def open(self, data: DataSpec) -> Samples:
        """Read one sub-folder for each class; the first half of the images is the gallery."""
        items, _ = read_labeled_folder(data.folder)
        self.gallery, queries = items[::2][: data.limit], items[1::2][: data.limit]
        self.size, self.known = data.size, {}

        def read(index: int) -> tuple[Tensor, int]:
            return self._image(queries[index].path), queries[index].label

        paths = [item.path for item in queries]
        hashes = content_hashes([item.path for item in self.gallery])
        labels = [item.label for item in (*self.gallery, *queries)]
        identity = {"gallery": hashes, "labels": labels, "size": data.size}
        return Samples(paths, read, identity, folder=data.folder, size=data.size)

    def predict(self, victim: nn.Module, images: Tensor) -> Tensor:
        """N×G class numbers of the gallery, nearest first by cosine similarity."""
        if victim not in self.known:
            shown = torch.stack([self._image(item.path) for item in self.gallery])
            self.known[victim] = F.normalize(victim(shown.to(images)).flatten(1))
        near = F.normalize(victim(images).flatten(1)) @ self.known[victim].T
        labels = torch.tensor([item.label for item in self.gallery], device=images.device)
        return labels[near.argsort(dim=1, descending=True, stable=True)]

    def _image(self, path: Path) -> Tensor:
        return load_batch([path], self.size, crop=True)[0]


@register_metric("recall", source="share of queries with their class among the first k")
class Recall:
    """Recall at k: whether one of the k nearest images has the query's class."""

    def __init__(self, k: int = 1) -> None:
        self.k = k
        self.hits: list[bool] = []

    def update(self, predictions: Tensor, targets: list[int]) -> None:
        """Count N rankings of class numbers, and N class numbers."""
        rows = predictions[:, : self.k].tolist()
        self.hits += [target in row for row, target in zip(rows, targets, strict=True)]

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """The share of hits with its Wilson interval; nothing is drawn."""
        return {"recall": share(self.hits)}
