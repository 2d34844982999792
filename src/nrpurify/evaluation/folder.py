"""Evaluation of a folder of labeled images: attack, purify, classify."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify import models, weights
from nrpurify.attacks import registry
from nrpurify.errors import ImageError, InputError
from nrpurify.evaluation.attackers import load_surrogate, perturber
from nrpurify.evaluation.harness import Attack, Batch, Observer, evaluate, summarize
from nrpurify.evaluation.label_check import FIRST, asked, label_doubt
from nrpurify.evaluation.lookup import look_up
from nrpurify.images import from_uint8, load_batch, to_uint8
from nrpurify.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.precision import Amp
from nrpurify.purifiers import load_purifier
from nrpurify.versions import versions

VICTIMS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "mobilenet_v1_025",
)
"""Classifiers that no default attack sees; the shipped purifier saw one, SqueezeNet."""
HALF_STEP = 0.5 / 255
"""What rounding to 8 bits may add to a budget."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        victims: Names for :func:`nrpurify.models.load_classifier`.
        surrogate: For ssp a name for :func:`nrpurify.features.feature_extractor`, for attacks on
            classifiers one for :func:`nrpurify.models.load_classifier`.
        preset: The attack's preset.
        layer: The layer attacked (ssp); others ignore it.
        eps: Budget in (0, 1].
        steps: The attack's iterations; ``None`` for the preset's.
        step_size: In units of [0, 1] images; ``None`` for the preset's.
        purifier: A shipped name or a file.
        attack: A name in :func:`nrpurify.attacks.names`; attacks that use labels get the true ones.
        size: Side of the images in pixels: short side resized, center cropped.
        batch: Images at a time.
        seed: Of the attack.
        attacked: A folder with the attacked images, made before, under the same names and of the
            same size; nothing is attacked then. Must be within ``eps`` all the same.
        uint8: Round attacked images to 8 bits, as a PNG file does, before they are purified.
        device: Where to work.
        amp: bf16 autocast of attack and purifier.
        check_labels: Refuse labels that do not fit what the victims say of the first images.
    """

    victims: Sequence[str] = VICTIMS
    surrogate: str = "vgg16"
    preset: str = "authors"
    layer: str = "conv3_3"
    eps: float = 16 / 255
    steps: int | None = 30
    step_size: float | None = None
    purifier: str | Path = "fast"
    attack: str = "ssp"
    size: int = 224
    batch: int = 10
    seed: int = 0
    attacked: str | Path | None = None
    uint8: bool = False
    device: str = "cpu"
    amp: Amp = "auto"
    check_labels: bool = True


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
        InputError: Nothing to evaluate, no image that can be read, labels that do not fit, a name
            or value in ``plan`` that cannot be used, or images attacked before that are further
            off than ``plan.eps``.
    """
    if not items:
        raise InputError("no labeled image to evaluate")
    device = torch.device(plan.device)
    victims = {name: models.load_classifier(name).to(device) for name in plan.victims}
    if plan.check_labels:
        _check_labels(items[:FIRST], plan, victims)
    purifier = load_purifier(plan.purifier, device=device)
    attack = _attack(plan)
    broken: list[str] = []
    batches = _batches(items, plan, device, broken, watch)
    tallies = evaluate(
        batches,
        victims,
        attack=attack,
        purifier=lambda images: purifier.purify(images, amp=plan.amp),
        eps=plan.eps + (HALF_STEP if plan.attacked is not None else 0),
        observe=observe,
    )
    if len(broken) == len(items):
        raise InputError(f"none of the {len(items)} images can be read; the first: {broken[0]}")
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
    return Outcome(outcome.result, outcome.broken, [*notes, *outcome.notes])


def _check_labels(
    items: Sequence[LabeledImage], plan: Plan, victims: Mapping[str, nn.Module]
) -> None:
    images, used = _readable(items, plan.size, [])
    if not used:
        return
    guesses, classes = asked(victims, torch.cat(images).to(plan.device))
    labels = torch.tensor([item.label for item in used], device=plan.device)
    if doubt := label_doubt(guesses, labels, min(classes.values())):
        raise InputError(f"{doubt} (--no-check-labels, check_labels=False, goes on all the same)")


def _attack(plan: Plan) -> Attack:
    if plan.attacked is not None:
        return _made_before(plan.attacked, plan.eps)
    layers = (plan.layer,) if plan.layer else ()
    surrogate = load_surrogate(
        plan.attack, (plan.surrogate,), layers, plan.preset, models.load_classifier
    )
    given = {"steps": plan.steps, "step_size": plan.step_size}
    perturb = perturber(
        plan.attack,
        None if surrogate is None else surrogate.to(plan.device),
        eps=plan.eps,
        preset=plan.preset,
        amp=plan.amp,
        settings={name: value for name, value in given.items() if value is not None},
    )
    generator = torch.Generator().manual_seed(plan.seed)

    def attack(batch: Batch) -> Tensor:
        attacked = perturb(batch.images, batch.labels, generator)
        return from_uint8(to_uint8(attacked)) if plan.uint8 else attacked

    return attack


def _made_before(folder: str | Path, eps: float) -> Attack:
    """Look images up, and name the first that is further off than rounding of ``eps`` explains."""
    find = look_up(folder)

    def attack(batch: Batch) -> Tensor:
        attacked = find(batch)
        changes = (attacked - batch.images).abs().flatten(1).amax(1).tolist()
        for name, change in zip(batch.names, changes, strict=True):
            if change > eps + HALF_STEP:
                raise InputError(
                    f"{folder} changes {name} by {255 * change:.1f}/255; expected at most eps "
                    f"{255 * eps:g}/255: give the --eps at which it was attacked, and the images "
                    "and --size that were"
                )
        return attacked

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
    looks = plan.attacked is None and registry.get(plan.attack).surrogate != "none"
    named = [plan.surrogate, *plan.victims] if looks else plan.victims
    used = [w for w in named if w in weights.names()]
    making = [] if looks else ["surrogate", "layer"]
    if plan.attacked is not None:
        making += ["attack", "preset", "steps", "step_size"]
    return {
        **asdict(plan),
        **dict.fromkeys(making),
        "attacked": None if plan.attacked is None else Path(plan.attacked).name,
        "victims": list(plan.victims),
        "purifier": name,
        "purifier_sha256": sha256,
        "weights_sha256": {w: weights.file_hash(weights.path(w)) for w in used},
        **versions(),
    }
