"""The attack of a plan, made ready, with what it does and the hashes of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.attacks.constraints import round_within
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.spec import split_specs
from nrpurify.evaluation.attack_runner import AttackSpec
from nrpurify.evaluation.cache import look_up
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.evaluation.plan import Plan

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
    spec = attack_spec(plan)
    network = spec.load()
    if network is not None:
        network = network.to(plan.device)
    runner = spec.runner(network, group=plan.group, seed=plan.seed, amp=plan.amp)

    def attack(batch: Batch) -> Tensor:
        return runner(batch.images, batch.labels)

    described = spec.described(network)
    settings = {
        "attack": spec.name,
        "attack_settings": dict(spec.settings),
        "surrogate": ",".join(spec.networks) or None,
        "layer": ",".join(described.get("layers", ())) or None,
        **{key: described.get(key) for key in ("steps", "step_size")},
        **{key: described[key] for key in ("trained",) if key in described},
    }
    hashes = spec.weights_sha256(network)
    return PlannedAttack(_rounded(attack, plan), settings, hashes, plan.eps)


def attack_spec(plan: Plan) -> AttackSpec:
    """The attack of a plan.

    Raises:
        InputError: No such attack, something that it does not have, or no surrogate.
    """
    name, given = read_spec(plan.attack)
    spec = AttackSpec(
        name,
        tuple(split_specs(plan.surrogate or "")),
        () if plan.layer is None else (plan.layer,),
        plan.eps,
        plan.preset,
        merge_settings(given, steps=plan.steps, step_size=plan.step_size),
        plan.trained,
    )
    spec.check()
    if spec.entry.surrogate == "classifier" and not spec.surrogate:
        raise InputError(
            f"{name} works on a classifier; name one that is none of the victims, such as "
            "surrogate timm:resnet50"
        )
    return spec


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
