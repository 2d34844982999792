"""The attack of a plan, made ready, with what it does and the hashes of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nrpurify import models
from nrpurify.attacks import registry
from nrpurify.attacks.box import round_within
from nrpurify.attacks.registry import Entry
from nrpurify.attacks.runner import AttackRunner
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.attacks.trained import LOADERS, locate
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.errors import InputError
from nrpurify.evaluation.attackers import load_surrogate, perturber, settings_in_force
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.evaluation.lookup import look_up
from nrpurify.evaluation.plan import Plan
from nrpurify.models.features import check_layers
from nrpurify.weights import weights_hash

HALF_STEP = 0.5 / 255
"""What rounding to 8 bits may add to a budget."""


_MAKING = ("attack", "surrogate", "layer", "preset", "steps", "step_size")


@dataclass(frozen=True)
class PlannedAttack:
    """An attack that is ready.

    Attributes:
        attack: Maps a batch to its attacked images.
        settings: What it does, defaults filled in; None each of images made before.
        hashes: sha256 of its weights by name.
        eps: The budget that its images must keep.
    """

    attack: Attack
    settings: dict[str, Any]
    hashes: dict[str, str]
    eps: float


def planned_attack(plan: Plan) -> PlannedAttack:
    """Load what a plan's attack needs.

    Raises:
        InputError: No such attack, surrogate or layer, or a setting that the attack does not have.
        WeightsError: The surrogate's weights are not to be had.
    """
    if plan.attacked is not None:
        made = _rounded(_made_before(plan.attacked, plan.eps), plan)
        return PlannedAttack(made, dict.fromkeys(_MAKING), {}, plan.eps + HALF_STEP)
    name, given = read_spec(plan.attack)
    given = merge_settings(given, steps=plan.steps, step_size=plan.step_size)
    entry = registry.get(name)
    if plan.trained is not None and entry.name not in LOADERS:
        raise InputError(f"trained was given; {entry.name} has no such setting, leave it out")
    names, layers = _surrogates(plan, entry), _layers(plan, entry)
    model = load_surrogate(
        name, names, layers, plan.preset, models.load_classifier, plan.trained or ""
    )
    if model is not None:
        model = model.to(plan.device)
        if layers and isinstance(model, nn.Module) and entry.surrogate == "classifier":
            check_layers(model, layers)
    perturb = perturber(
        name,
        model,
        eps=plan.eps,
        preset=plan.preset,
        amp=plan.amp,
        layers=layers,
        settings=given,
    )
    runner = AttackRunner(perturb, model, plan.group, plan.seed, plan.amp)

    def attack(batch: Batch) -> Tensor:
        return runner(batch.images, batch.labels)

    force = settings_in_force(name, plan.preset, given)
    network = ",".join(names)
    settings = {
        "attack": name,
        "attack_settings": given,
        "surrogate": network or None,
        "layer": ",".join(layers) or None,
        **{key: force.get(key) for key in ("steps", "step_size")},
    }
    hashes = {}
    if name in LOADERS:
        settings["trained"] = Path(plan.trained or name).name
        card, _ = read_carded(locate(plan.trained or name))
        hashes[f"trained {name}"] = card.sha256
    elif isinstance(model, nn.Module):
        hashes[network] = weights_hash(network, model)
    return PlannedAttack(_rounded(attack, plan), settings, hashes, plan.eps)


def _surrogates(plan: Plan, entry: Entry) -> Sequence[str]:
    if entry.surrogate == "none":
        if plan.surrogate is not None:
            raise InputError(f"{entry.name} looks at no network; leave the surrogate out")
        return ()
    if plan.surrogate is None and entry.surrogate == "classifier":
        raise InputError(
            f"{entry.name} looks at a classifier; name one that is none of the victims, such as "
            "surrogate timm:resnet50"
        )
    names = (plan.surrogate or "vgg16").split(",")
    if entry.surrogate == "features" and len(names) > 1:
        raise InputError(f"surrogate is {plan.surrogate!r}; {entry.name} works on one network")
    return [name.strip() for name in names]


def _layers(plan: Plan, entry: Entry) -> tuple[str, ...]:
    if entry.surrogate == "features":
        own = "conv3_3" if plan.surrogate in (None, "vgg16") else None
        return (layer,) if (layer := plan.layer or own) else ()
    if plan.layer is not None and "features" not in entry.settings:
        raise InputError(f"layer {plan.layer!r} given; {entry.name} works on none, leave it out")
    return () if plan.layer is None else (plan.layer,)


def _rounded(attack: Attack, plan: Plan) -> Attack:
    if not plan.uint8:
        return attack
    eps = plan.eps + (0 if plan.attacked is None else HALF_STEP)
    return lambda batch: round_within(attack(batch), batch.images, eps)


def _made_before(folder: str | Path, eps: float) -> Attack:
    """Look images up, and name the first that is further off than rounding of ``eps`` explains."""
    find = look_up(folder)

    def attack(batch: Batch) -> Tensor:
        attacked = find(batch)
        changes = (attacked - batch.images).abs().flatten(1).amax(1).tolist()
        for name, change in zip(batch.names, changes, strict=True):
            if change > eps + HALF_STEP:
                raise InputError(
                    f"{folder} changes {Path(name).name} by {255 * change:.1f}/255; expected at "
                    f"most eps {255 * eps:g}/255: give the --eps at which it was attacked, and the "
                    "images and --size that were"
                )
        return attacked

    return attack
