"""Evaluation of a folder of labeled images: attack, purify, classify."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nrpurify
from nrpurify import weights
from nrpurify.attacks.ssp import SSP
from nrpurify.errors import ImageError, InputError
from nrpurify.evaluation.harness import Attack, Batch, Observer, evaluate, summarize
from nrpurify.files import find_images
from nrpurify.images import from_uint8, load_batch, read_image, to_uint8
from nrpurify.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.models import load_classifier
from nrpurify.precision import Amp
from nrpurify.purifiers import load_purifier

VICTIMS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "mobilenet_v1_025",
)
"""Classifiers whose features no shipped purifier was trained on and no default attack sees."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        victims: Names for :func:`nrpurify.models.load_classifier`.
        surrogate: SSP's network, see :func:`nrpurify.features.feature_extractor`.
        preset: SSP's preset.
        layer: The layer attacked.
        eps: Budget in (0, 1].
        steps: SSP's iterations.
        step_size: Of SSP, in units of [0, 1] images; ``None`` for the preset's.
        purifier: A shipped name or a file.
        size: Side of the images in pixels: short side resized, center cropped.
        batch: Images at a time.
        seed: Of the attack.
        attacked: A folder with the attacked images, made before, under the same names and of the
            same size; nothing is attacked then. Must be within ``eps`` all the same.
        uint8: Round attacked images to 8 bits, as a PNG file does, before they are purified.
        device: Where to work.
        amp: bf16 autocast of attack and purifier.
    """

    victims: Sequence[str] = VICTIMS
    surrogate: str = "vgg16"
    preset: str = "authors"
    layer: str = "conv3_3"
    eps: float = 16 / 255
    steps: int = 30
    step_size: float | None = None
    purifier: str | Path = "fast"
    size: int = 224
    batch: int = 10
    seed: int = 0
    attacked: str | Path | None = None
    uint8: bool = False
    device: str = "cpu"
    amp: Amp = "auto"


@dataclass
class Outcome:
    """What an evaluation found.

    Attributes:
        result: See :func:`nrpurify.evaluation.harness.summarize`.
        broken: Images that could not be read, with reasons; they are in no number.
        notes: What else the user should know, such as labels without images.
    """

    result: dict[str, Any]
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate_images(
    items: Sequence[LabeledImage],
    plan: Plan,
    *,
    observe: Observer | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Attack, purify and classify labeled image files.

    Args:
        items: Files with labels from 0.
        plan: What to do.
        observe: Sees each batch, see :func:`nrpurify.evaluation.harness.evaluate`.
        watch: Called with (images done, images in all) after each batch.

    Raises:
        InputError: Nothing to evaluate, or a name or value in ``plan`` that cannot be used.
    """
    if not items:
        raise InputError("no labeled image to evaluate")
    device = torch.device(plan.device)
    victims = {name: load_classifier(name).to(device) for name in plan.victims}
    purifier = load_purifier(plan.purifier, device=device)
    attack = _attack(plan)
    broken: list[str] = []
    batches = _batches(items, plan, device, broken, watch)
    tallies = evaluate(
        batches,
        victims,
        attack=attack,
        purifier=lambda images: purifier.purify(images, amp=plan.amp),
        eps=plan.eps,
        observe=observe,
    )
    settings = _settings(plan, purifier.card.name, purifier.card.sha256)
    return Outcome(summarize(tallies, settings), broken)


def evaluate_folder(
    folder: str | Path,
    plan: Plan,
    *,
    labels: str | Path | None = None,
    limit: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Evaluate the images of a folder.

    Args:
        folder: Images, or with no ``labels`` one sub-folder a class.
        plan: What to do.
        labels: A CSV, see :func:`nrpurify.labels.read_labels_csv`.
        limit: Use the first so many images, in the order of their names.
        watch: As in :func:`evaluate_images`.

    Raises:
        InputError: As in :func:`evaluate_images`, or labels that cannot be read.
    """
    notes: list[str] = []
    if labels is None:
        items, _ = read_labeled_folder(folder)
    else:
        paired = labeled_images(folder, labels)
        items, notes = paired.items, paired.notes()
    outcome = evaluate_images(items[:limit], plan, watch=watch)
    return Outcome(outcome.result, outcome.broken, [*notes, *_doubts(outcome.result)])


def _doubts(result: dict[str, Any]) -> list[str]:
    if result["n"] >= 20 and result["mean"]["clean"] < 0.05:
        return [
            f"clean accuracy is {result['mean']['clean']:.1%}: are the labels those of the "
            "victims' classes, and do they count from where the CSV's header says?"
        ]
    return []


def _attack(plan: Plan) -> Attack:
    if plan.attacked is not None:
        return _look_up(plan.attacked)
    ssp = SSP(
        plan.surrogate,
        eps=plan.eps,
        preset=plan.preset,
        seed=plan.seed,
        amp=plan.amp,
        layer=plan.layer,
        steps=plan.steps,
        step_size=plan.step_size,
    )
    if not plan.uint8:
        return lambda batch: ssp(batch.images)
    return lambda batch: from_uint8(to_uint8(ssp(batch.images)))


def _look_up(folder: str | Path) -> Attack:
    files = {file.path.stem: file.path for file in find_images(folder, recursive=True)}

    def attack(batch: Batch) -> Tensor:
        missing = [name for name in batch.names if Path(name).stem not in files]
        if missing:
            raise InputError(f"{folder} has no attacked image for {', '.join(missing[:3])}")
        images = [read_image(files[Path(name).stem]).rgb for name in batch.names]
        if any(image.shape != batch.images.shape[1:] for image in images):
            raise InputError(
                f"{folder} holds images of size {tuple(images[0].shape[1:])}; "
                f"expected {tuple(batch.images.shape[2:])}: attack images of the size evaluated at"
            )
        return torch.stack(images).to(batch.images)

    return attack


def _batches(
    items: Sequence[LabeledImage],
    plan: Plan,
    device: torch.device,
    broken: list[str],
    watch: Callable[[int, int], None] | None,
) -> Iterator[Batch]:
    for start in range(0, len(items), plan.batch):
        chunk = items[start : start + plan.batch]
        images, used = _readable(chunk, plan.size, broken)
        if used:
            labels = torch.tensor([item.label for item in used], device=device)
            yield Batch(torch.cat(images).to(device), labels, [item.path.name for item in used])
        if watch is not None:
            watch(start + len(chunk), len(items))


def _readable(
    chunk: Sequence[LabeledImage], size: int, broken: list[str]
) -> tuple[list[Tensor], list[LabeledImage]]:
    images, used = [], []
    for item in chunk:
        try:
            images.append(load_batch([item.path], size, crop=True))
            used.append(item)
        except ImageError as error:
            broken.append(str(error))
    return images, used


def _settings(plan: Plan, name: str, sha256: str) -> dict[str, Any]:
    used = [w for w in (plan.surrogate, *plan.victims) if w in weights.names()]
    return {
        "attack": "ssp",
        **asdict(plan),
        "attacked": None if plan.attacked is None else Path(plan.attacked).name,
        "victims": list(plan.victims),
        "purifier": name,
        "purifier_sha256": sha256,
        "weights_sha256": {w: weights.file_hash(weights.path(w)) for w in used},
        "nrpurify": nrpurify.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
