"""Evaluation of a folder of labeled images: attack, purify, classify."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify import models
from nrpurify.attacks.constraints import lost_by_rounding
from nrpurify.attacks.gradient_log import log_gradients
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import LeftOut, log_left_out
from nrpurify.core.groups import InGroups, span
from nrpurify.core.images import load_batch, shorter_side
from nrpurify.core.precision import arithmetic
from nrpurify.core.versions import environment, recorded_plugins
from nrpurify.data.labels import LabeledImage, labeled_images, read_labeled_folder
from nrpurify.evaluation.cache import unreadable
from nrpurify.evaluation.harness import Batch, Observer, evaluate, summarize
from nrpurify.evaluation.label_check import FIRST, asked, label_doubt
from nrpurify.evaluation.plan import Plan, Victim
from nrpurify.evaluation.planned_attack import PlannedAttack, planned_attack
from nrpurify.evaluation.provenance import networks_seen
from nrpurify.models import Classifier
from nrpurify.purifiers import Purifier, load_purifier
from nrpurify.purifiers.purifier import small_images_notes
from nrpurify.weights import weights_hash


@dataclass
class Outcome:
    """What an evaluation found.

    Attributes:
        result: See :func:`nrpurify.evaluation.harness.summarize`.
        broken: Images and entries of the folder that could not be read, with reasons; they are in
            no number.
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
    victims = _load_victims(plan.victims, device)
    plan = replace(plan, victims=tuple(victims))
    _check_labels(items, plan, victims)
    purifier = load_purifier(plan.purifier, device=device)
    planned = planned_attack(plan)
    broken: list[str] = []
    if plan.attacked is not None:
        reasons = unreadable(plan.attacked, (str(item.path.absolute()) for item in items))
        broken += reasons.values()
        items = [item for item in items if str(item.path.absolute()) not in reasons]
    batches = _batches(items, plan, device, broken, watch)
    with log_gradients() as log:
        tallies = evaluate(
            batches,
            {name: InGroups(victim, plan.group) for name, victim in victims.items()},
            attack=planned.attack,
            purifier=InGroups(lambda images: purifier.purify(images, amp=plan.amp), plan.group),
            eps=planned.eps,
            observe=observe,
            defense=str(plan.purifier),
        )
    if not next(iter(tallies.values())).total:
        raise InputError(f"none of the {len(broken)} images can be read; the first: {broken[0]}")
    settings = _settings(plan, planned, purifier, victims)
    side = min(plan.size, shorter_side([item.path for item in items]))
    lost = lost_by_rounding(plan.eps) if plan.uint8 else []
    notes = [*log.notes(), *lost, *small_images_notes(side, [purifier])]
    result = summarize(tallies, settings)
    return Outcome({**result, "notes": notes}, broken, notes)


def evaluate_folder(
    folder: str | Path,
    plan: Plan,
    *,
    labels: str | Path | None = None,
    classes: str | Path | None = None,
    limit: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Evaluate the images of a folder.

    Args:
        folder: Images, or with no ``labels`` one sub-folder a class.
        plan: What to do.
        labels: A CSV, see :func:`nrpurify.data.labels.read_labels_csv`.
        classes: Without ``labels``: names of the sub-folders in the order of the victims' classes,
            see :func:`nrpurify.data.labels.read_class_names`.
        limit: Use the first so many images, in the order of their names.
        watch: As in :func:`evaluate_images`.

    Raises:
        InputError: As in :func:`evaluate_images`, or labels that cannot be read.
    """
    notes: list[str] = []
    left_out: list[LeftOut] = []
    if labels is None:
        items, _ = read_labeled_folder(folder, classes, left_out=left_out)
    elif classes is not None:
        raise InputError("classes goes with one sub-folder a class; leave it or labels out")
    else:
        paired = labeled_images(folder, labels, left_out=left_out)
        items, notes = paired.items, paired.notes()
    log_left_out([left for left in left_out if not left.lost])
    outcome = evaluate_images(items[:limit], plan, watch=watch)
    lost = [f"cannot read {left}" for left in left_out if left.lost]
    notes += outcome.notes
    return Outcome({**outcome.result, "notes": notes}, [*lost, *outcome.broken], notes)


def _load_victims(given: Sequence[Victim], device: torch.device) -> dict[str, Classifier]:
    """Victims by their specs; those of the user's own by the names of their classes, numbered."""
    victims: dict[str, Classifier] = {}
    for one in given:
        loaded = models.load_classifier(one).to(device)
        name = one if isinstance(one, str) else loaded.name
        if name in victims and isinstance(one, str):
            raise InputError(f"the victim {name} was given twice; keep one of them")
        number = 2
        while name in victims:
            name, number = f"{loaded.name} {number}", number + 1
        victims[name] = loaded
    return victims


def _check_labels(
    items: Sequence[LabeledImage], plan: Plan, victims: Mapping[str, nn.Module]
) -> None:
    images, used = _readable(items[: FIRST if plan.check_labels else 1], plan.size, [])
    if not used:
        return
    guesses, classes = asked(victims, torch.cat(images).to(plan.device))
    highest = max(item.label for item in items)
    name = min(classes, key=classes.__getitem__)
    if highest >= classes[name]:
        raise InputError(
            f"label {highest} (counted from 0); {name} has classes 0 to {classes[name] - 1}: give "
            "labels of the victim's classes, or a victim that has them"
        )
    if not plan.check_labels:
        return
    labels = torch.tensor([item.label for item in used], device=plan.device)
    if doubt := label_doubt(guesses, labels, min(classes.values())):
        raise InputError(f"{doubt} (--no-check-labels, check_labels=False, goes on all the same)")


def _batches(
    items: Sequence[LabeledImage],
    plan: Plan,
    device: torch.device,
    broken: list[str],
    watch: Callable[[int, int], None] | None,
) -> Iterator[Batch]:
    count = span(plan.batch, plan.group)
    for start in range(0, len(items), count):
        chunk = items[start : start + count]
        images, used = _readable(chunk, plan.size, broken)
        if used:
            labels = torch.tensor([item.label for item in used], device=device)
            yield Batch(
                torch.cat(images).to(device), labels, [str(item.path.absolute()) for item in used]
            )
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


def _settings(
    plan: Plan, planned: PlannedAttack, purifier: Purifier, victims: Mapping[str, nn.Module]
) -> dict[str, Any]:
    hashes = {name: weights_hash(name, victim) for name, victim in victims.items()}
    return {
        **asdict(plan),
        **planned.settings,
        "attacked": None if plan.attacked is None else Path(plan.attacked).name,
        "victims": list(plan.victims),
        "purifier": purifier.card.name,
        "purifier_sha256": purifier.card.sha256,
        "precision": arithmetic(plan.amp, plan.device),
        "seen_in_training": list(networks_seen(purifier)),
        "weights_sha256": {**planned.hashes, **hashes},
        **environment(plan.device),
        **recorded_plugins(),
    }
