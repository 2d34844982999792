"""The attacked images of a plan: made once, kept on disk, or taken from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.runner import typed_settings
from nrpurify.attacks.spec import settings_in_force
from nrpurify.core.hashing import digest, slug
from nrpurify.core.manifest import make_head
from nrpurify.core.precision import Amp
from nrpurify.core.random import derive_generator
from nrpurify.defenses.randomness import reseed
from nrpurify.evaluation.batches import Attack, Batch
from nrpurify.evaluation.cache import AttackCache, checked
from nrpurify.evaluation.cells import Unit
from nrpurify.evaluation.networks import attack_spec, surrogate_names
from nrpurify.evaluation.plan import PlannedAttack
from nrpurify.evaluation.setup import Chunk, Setup


class Adversaries:
    """Makes attacked images, and keeps those of transfers.

    Args:
        setup: Of the plan.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._whole: dict[str, AttackCache] = {}

    def made(self, unit: Unit) -> AttackCache | None:
        """The unit's attacked images, all of them on disk; None if they are made on the way."""
        if unit.attack is None or unit.eps is None or not unit.attack.transfers or unit.made:
            return None
        adversaries = self.store(unit.attack, unit.index, unit.eps)
        if adversaries.folder.name in self._whole:
            return adversaries
        for chunk in self.setup.chunks():
            adversaries.get(chunk.batch, self.setup.samples.hashes[chunk.rows])
            self.setup.progress.update(
                f"{unit.attack.name} attacks", chunk.rows.stop, len(self.setup.samples)
            )
        self._whole[adversaries.folder.name] = adversaries
        return adversaries

    def get(self, unit: Unit, chunk: Chunk, adversaries: AttackCache | None = None) -> Tensor:
        """The attacked images of a transfer, from disk.

        Args:
            unit: Of a transfer.
            chunk: Clean images.
            adversaries: Where they are kept; None to look that up.
        """
        assert unit.attack is not None
        assert unit.eps is not None
        clean = chunk.batch.images
        if unit.made is not None:
            attacked = unit.made.get(chunk.batch, self.setup.samples.paths[chunk.rows])
            allowed, norm = unit.made.allowed(clean), unit.made.norm
            return checked(clean, attacked, allowed, self.setup.plan.rounding, norm)
        kept = adversaries or self.store(unit.attack, unit.index, unit.eps)
        return kept.get(chunk.batch, self.setup.samples.hashes[chunk.rows])

    def attack(
        self, attack: PlannedAttack, eps: float, model: nn.Module | Tensor | None, amp: Amp
    ) -> Attack:
        """An attack on batches, at one budget."""
        seed, labeled = self.setup.plan.seed, self.setup.task.class_labels

        def before(image: str) -> None:
            if isinstance(
                model, nn.Module
            ):  # a random defense inside draws otherwise than where it is judged
                reseed(model, derive_generator(seed, "defense under attack", image))

        runner = attack_spec(attack, eps).runner(
            model, group=self.setup.group, seed=seed, amp=amp, before=before
        )

        def make(batch: Batch) -> Tensor:
            aims = self.setup.targets(attack, batch)
            with torch.enable_grad():
                classes = batch.labels if aims is None else aims
                return runner(batch.images, classes if labeled else None).detach()

        return make

    def store(self, attack: PlannedAttack, index: int, eps: float) -> AttackCache:
        """The store of a transfer's attacked images at one budget.

        Args:
            attack: The transfer.
            index: Its place in the plan.
            eps: One of its budgets.
        """
        basis = self.setup.basis(attack, [])
        weights, made_with = basis.pop("weights_sha256"), basis["versions"]
        settings = {
            **attack.decides,
            **attack_settings(attack),
            **basis,
            "attack": attack.name,
            "surrogate": ",".join(surrogate_names(attack)) or None,
            "eps": eps,
            "targets_sha256": digest(self.setup.samples.identity),
        }
        head = make_head(settings, weights, made_with=made_with)
        name = slug(attack.name, f"{eps * 255:.3g}", *surrogate_names(attack), attack.purifier)
        folder = self.setup.folder / f"{name}-{digest(head)[:10]}"
        if folder.name in self._whole:
            return self._whole[folder.name]
        make = self.attack(attack, eps, self.setup.networks.surrogates[index], self.setup.plan.amp)
        return AttackCache(folder, head, make, eps, self.setup.plan.rounding, attack.norm)


def attack_settings(attack: PlannedAttack) -> dict[str, Any]:
    """What the attack did, defaults filled in, as plain values."""
    entry = attack_spec(attack).entry
    given = typed_settings(entry, attack.given)
    chosen = settings_in_force(entry, attack.preset, given, attack.norm)
    plain = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in chosen.items()
    }
    named = {"layers": list(attack.layer), "labels": attack.labels, "purifier": attack.purifier}
    if attack.trained:
        named["trained"] = Path(attack.trained).name
    return {**plain, "preset": attack.preset, **named, "bpda": attack.bpda}
