"""What a run of an experiment works with: its scale, images, networks and folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from nrpurify import models
from nrpurify.attacks.trained import shipped
from nrpurify.core.errors import InputError
from nrpurify.core.images import load_batch
from nrpurify.core.precision import Amp
from nrpurify.core.progress import SILENT, Progress
from nrpurify.data.demo import foolbox_photos
from nrpurify.data.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.models import Classifier
from nrpurify.paper import smoke
from nrpurify.paper.substitutes import Scale, substitute

SIDES: dict[Scale, int] = {"smoke": smoke.SIDE, "small": 224, "full": 299}
"""Side of the images in pixels: short side resized, center cropped."""

TRAINED = ("imagenet", "comics", "paintings", "cda", "fff")
"""Names of trained attacks, see :class:`Bench`."""
_IMAGES = ("images", "labels", "scenes", "annotations", "frames", "masks", "data")
"""What of :class:`Bench` names images."""


@dataclass(frozen=True)
class Bench:
    """What an experiment is given; the scale smoke makes its own images and takes none.

    Attributes:
        scale: How much is measured, on what.
        out: The run's folder.
        images: Folder of labeled images; None for the demo's 20 photographs.
        labels: Their CSV, see :func:`nrpurify.data.labels.read_labels_csv`; None for one
            sub-folder a class.
        limit: The first so many images; None for all.
        scenes: Folder of photos with objects, for detection.
        annotations: Their COCO JSON file, or folder of YOLO text files.
        frames: Folder of street scenes, for segmentation.
        masks: Folder of their class masks.
        data: Unlabeled photos for experiments that train.
        checkpoints: Folder of purifiers trained before, ``NAME.safetensors`` or
            ``NAME/purifier.safetensors``.
        trained: Files of trained attacks: CDA's generators by their domain, ``imagenet``,
            ``comics`` or ``paintings`` (``cda`` is the first), and FFF's pattern, ``fff``.
        purifier: What stands for NRP: a shipped name or a file.
        victims: Specs of classifiers that stand beside a table's victims, or in place of its only
            one.
        steps: Training steps of experiments that train; None for their own.
        seed: Of everything random.
        device: Where to work.
        amp: bf16 autocast of grids and of SSP on scenes; the other attacks run in fp32.
        resume: Go on with what is in the folder.
        progress: Gets a line whenever a piece of work is done.
    """

    scale: Scale
    out: Path
    images: Path | None = None
    labels: Path | None = None
    limit: int | None = None
    scenes: Path | None = None
    annotations: Path | None = None
    frames: Path | None = None
    masks: Path | None = None
    data: Path | None = None
    checkpoints: Path | None = None
    trained: Mapping[str, Path] = field(default_factory=dict)
    purifier: str = "fast"
    victims: tuple[str, ...] = ()
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    amp: Amp = "auto"
    resume: bool = False
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        """Raise InputError for images that the scale smoke would not use."""
        given = [f"--{name}" for name in _IMAGES if getattr(self, name) is not None]
        if self.scale == "smoke" and given:
            raise InputError(
                f"{', '.join(given)} given; the scale smoke runs on generated pictures and uses no "
                "others: leave it out, or choose --scale small or full"
            )

    def generators(self) -> dict[str, Path]:
        """CDA's generators by the paper's name of their domain; the shipped one is ImageNet's."""
        first = self.trained.get("imagenet", self.trained.get("cda", shipped().get("cda")))
        others = {name: self.trained.get(name.lower()) for name in ("Comics", "Paintings")}
        return {k: v for k, v in {"ImageNet": first, **others}.items() if v is not None}

    @property
    def side(self) -> int:
        """Side of the images in pixels."""
        return SIDES[self.scale]

    def at(self, out: Path) -> Bench:
        """The same in another folder."""
        return replace(self, out=out)

    def pick(self, smoke: int, small: int, full: int) -> int:
        """One of three numbers, by scale."""
        return {"smoke": smoke, "small": small, "full": full}[self.scale]

    def items(self) -> list[LabeledImage]:
        """The labeled images.

        Raises:
            InputError: The scale is full and no images were given, or they cannot be used.
            MissingExtraError: foolbox, which has the demo's photographs, is not installed.
        """
        if self.labels is not None and self.images is None:
            raise InputError(f"labels {self.labels} go with images; give their folder by --images")
        if self.scale == "smoke":
            found = smoke.pictures(self.out / "generated")
        elif self.images is None:
            found = self._demo_photos()
        elif self.labels is None:
            found = read_labeled_folder(self.images)[0]
        else:
            found = labeled_images(self.images, self.labels).items
        return found[: self.limit]

    def _demo_photos(self) -> list[LabeledImage]:
        if self.scale == "full":
            raise InputError(
                "the scale full needs images: give --images FOLDER --labels CSV, for instance the "
                "1,000 of NeurIPS 2017's competition; --scale small has 20 photographs of its own"
            )
        return foolbox_photos()

    def load(self, count: int | None = None, start: int = 0) -> tuple[Tensor, Tensor, list[str]]:
        """``count`` images N×3×side×side in [0, 1] from ``start`` on, labels and unique names."""
        items = self.items()[start:][:count]
        images = load_batch([item.path for item in items], self.side, crop=True)
        labels = torch.tensor([item.label for item in items])
        names = [f"{index:05d}-{item.path.stem[:60]}" for index, item in enumerate(items)]
        return images.to(self.device), labels.to(self.device), names

    def network(self, name: str, small: Mapping[str, str | None] | None = None) -> str | None:
        """Which network plays the paper's ``name``; None when there is none at this scale."""
        return substitute(name, self.scale, small)

    def classifier(self, name: str) -> Classifier:
        """The network that plays the paper's ``name``, loaded.

        Raises:
            InputError: There is none at this scale.
            WeightsError: Its weights could not be found or downloaded.
        """
        network = self.network(name)
        if network is None:
            raise InputError(f"nothing stands in for {name} at the scale {self.scale}")
        return models.load_classifier(network, device=self.device)

    def generator(self) -> Generator:
        """A CPU generator with the bench's seed."""
        return Generator().manual_seed(self.seed)
