"""What to evaluate on a task other than classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp

DEFAULT_VICTIMS: Mapping[str, str] = {
    "detect": "coco_ssd",
    "instances": "torchvision:maskrcnn_resnet50_fpn",
    "segment": "segnet-basic-camvid",
}
"""The model of each task when none is named."""

_LABELS = {"detect": "annotations", "instances": "annotations", "segment": "masks"}
_MEANING = {
    "annotations": "a COCO file, or a folder of YOLO text files",
    "masks": "a folder of class masks",
}


@dataclass(frozen=True)
class TaskPlan:
    """What to evaluate.

    Attributes:
        task: ``detect`` (boxes), ``instances`` (masks of objects) or ``segment`` (classes of
            pixels).
        images: Folder of images.
        annotations: For detect and instances: a COCO JSON file, or a folder of YOLO text files.
        masks: For segment: a folder of class masks.
        victim: A name for :func:`nrpurify.models.detectors.load_detector` or
            :func:`nrpurify.models.segmenters.load_segmenter`; empty for :data:`DEFAULT_VICTIMS`.
        attacks: Names or specs of attacks that need no labels: ssp, cda, fff, noise, or
            ``ssp:steps=10``; ``none`` is none.
        eps: Budgets in [1/255, 1]; each attack is made at each.
        steps: Iterations, where the attack has any; None for the preset's.
        step_size: In units of [0, 1] images; None for the preset's.
        preset: The attacks' preset.
        surrogate: The network whose features SSP attacks.
        layer: Its layer; None for the default.
        attacked: A folder that ``nrpurify attack`` made, in place of attacks.
        defenses: Specs, see :func:`nrpurify.defenses.make`; ``none`` is always among them.
        trained: Files of a generator (cda) or pattern (fff) by the attack's name; the shipped ones
            otherwise.
        limit: Use the first so many images.
        longest: For detect and instances: images are scaled down to this longer side.
        seed: Of attacks, random defenses and bootstrap.
        resamples: Of the bootstrap (detect, instances).
        device: Where to work.
        amp: bf16 autocast of the attacks; defenses and models work in fp32.
    """

    task: str
    images: Path
    annotations: Path | None = None
    masks: Path | None = None
    victim: str = ""
    attacks: tuple[str, ...] = ("ssp",)
    eps: tuple[float, ...] = (16 / 255,)
    steps: int | None = None
    step_size: float | None = None
    preset: str = "paper"
    surrogate: str = "vgg16"
    layer: str | None = None
    attacked: Path | None = None
    defenses: tuple[str, ...] = ("none", "fast")
    trained: Mapping[str, Path] = field(default_factory=dict)
    limit: int | None = None
    longest: int | None = None
    seed: int = 0
    resamples: int = 1000
    device: str = "cpu"
    amp: Amp = "auto"

    def __post_init__(self) -> None:
        """Raise InputError for what is missing, does not belong to the task or is out of range."""
        if self.task not in _LABELS:
            raise InputError(f"task is {self.task!r}; expected one of {', '.join(_LABELS)}")
        self._check_labels(_LABELS[self.task])
        if self.task == "segment" and self.longest is not None:
            raise InputError("longest does not belong to segment: masks keep their size")
        for eps in self.eps:
            if not 1 / 255 <= eps <= 1:
                raise InputError(
                    f"eps is {eps:.5g}; expected 1/255 to 1: attacked images are 8-bit files"
                )
        for name in ("limit", "longest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")

    def _check_labels(self, wanted: str) -> None:
        for name, meaning in _MEANING.items():
            given = getattr(self, name) is not None
            if name == wanted and not given:
                raise InputError(f"{self.task} needs {name}: {meaning}")
            if name != wanted and given:
                raise InputError(f"{name} does not belong to {self.task}; it takes {wanted}")

    @property
    def model(self) -> str:
        """The victim's name, the default filled in."""
        return self.victim or DEFAULT_VICTIMS[self.task]

    @property
    def model_name(self) -> str:
        """The same for the record; of a file its name only."""
        return Path(self.model).name

    @property
    def specs(self) -> tuple[str, ...]:
        """The defenses in order, no defense first, each once."""
        return tuple(dict.fromkeys(("none", *self.defenses)))
