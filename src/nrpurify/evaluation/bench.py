"""The bench on which the cells of a grid are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.gradient_log import GradientCount, log_gradients
from nrpurify.attacks.spec import settings_in_force
from nrpurify.core.groups import InGroups, span
from nrpurify.core.hashing import digest, slug
from nrpurify.core.manifest import make_head
from nrpurify.core.precision import Amp, arithmetic, autocast
from nrpurify.core.random import derive_generator
from nrpurify.core.scale import enlarged
from nrpurify.defenses import protect
from nrpurify.defenses.randomness import reseed
from nrpurify.evaluation.cache import AttackCache, checked
from nrpurify.evaluation.cells import Unit, cell_id, counted, describe, is_own_surrogate
from nrpurify.evaluation.finite import check_finite
from nrpurify.evaluation.grid_recipe import GridAttack, GridRecipe
from nrpurify.evaluation.harness import Attack, Batch
from nrpurify.evaluation.networks import Networks, grid_spec, surrogate_names, trained_name
from nrpurify.evaluation.photos import Photos
from nrpurify.evaluation.profiler import Meter
from nrpurify.evaluation.threats import WHITE_BOX, GradientCheck, check_gradients, target
from nrpurify.results import Result

Source = Callable[[Batch, Sequence[str]], Tensor]
"""Maps a batch and the hashes of its files to its attacked images."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, images done and images in all."""
_PROBED = 4


@dataclass
class Bench:
    """Images and networks of a grid, and the attacked images made so far.

    Attributes:
        recipe: What is measured.
        photos: On what.
        networks: With what.
        classes: Number of classes by victim.
        folder: Where attacked images are kept.
        versions: Of this package, torch and Python.
        progress: Watches.
    """

    recipe: GridRecipe
    photos: Photos
    networks: Networks
    classes: dict[str, int]
    folder: Path
    versions: dict[str, str]
    progress: Progress
    _adversaries: dict[str, AttackCache] = field(default_factory=dict)
    _grouped: dict[str, nn.Module] = field(default_factory=dict)

    def cell_id(self, unit: Unit, victim: str) -> str:
        """The cell's name, another one as soon as anything is that decides its value."""
        names = [victim, unit.defense]
        basis = {
            **self._basis(unit.attack, names),
            "images": self.photos.hashes,
            "labels": [item.label for item in self.photos.items],
        }
        return cell_id(unit, victim, basis)

    def _basis(self, attack: GridAttack | None, names: Sequence[str]) -> dict[str, Any]:
        surrogates = surrogate_names(attack) if attack else ()
        own = [attack.purifier, trained_name(attack)] if attack else []
        names = [*names, *surrogates, *(f"features of {name}" for name in surrogates), *own]
        used = {name: sha for name, sha in self.networks.hashes.items() if name in names}
        return {
            "size": self.photos.size,
            "seed": self.recipe.seed,
            "group": self.recipe.group,
            "rounding": self.recipe.rounding,
            "precision": self._precision(attack is None or attack.transfers),
            "weights_sha256": used,
            "versions": self.versions,
        }

    def _precision(self, may_be_half: bool) -> str:
        return arithmetic(self.recipe.amp, self.photos.device) if may_be_half else "fp32"

    def measure(self, unit: Unit, clean: dict[str, Tensor]) -> dict[str, tuple[Result, Tensor]]:
        """Measure the cells of a unit.

        Args:
            unit: What to measure.
            clean: N booleans by victim: right answers to clean images, undefended; empty for the
                unit that finds them.

        Returns:
            By victim: the cell, and N booleans of right answers.

        Raises:
            AssertionError: The attack left its budget.
        """
        defense = self.networks.defense(unit.defense)
        adversaries = self._made(unit)
        with Meter(self.photos.device) as meter:
            gradients = self._gradients(unit, defense)
            with log_gradients() as log:
                hits = self._hits(unit, defense, self._source(unit, defense, adversaries))
        shared = {
            **self._facts(unit),
            **({} if gradients is None else gradients._asdict()),
            **({} if adversaries is None else _kept(adversaries)),
            **_met(log.images if adversaries is None else adversaries.gradients()),
        }
        return {
            victim: (
                self._cell(unit, victim, right, clean.get(victim, right), meter, shared),
                right,
            )
            for victim, right in hits.items()
        }

    def _cell(
        self,
        unit: Unit,
        victim: str,
        hits: Tensor,
        clean: Tensor,
        meter: Meter,
        shared: dict[str, Any],
    ) -> Result:
        attack, passes = unit.attack, self.networks.facts[unit.defense].passes
        memory = meter.peak_memory_mb
        settings = {
            **shared,
            "classes": self.classes[victim],
            "in_mean": not is_own_surrogate(unit, victim),
        }
        return Result(
            id=self.cell_id(unit, victim),
            **describe(unit, victim),
            **counted(hits, clean),
            steps=settings.get("steps"),
            draws=attack.draws if attack and attack.draws > 1 else passes,
            rounding=self.recipe.rounding,
            precision=settings["precision"],
            seconds=round(meter.seconds / len(unit.victims), 3),
            peak_memory_mb=None if memory is None else round(memory, 1),
            seed=self.recipe.seed,
            settings=settings,
        )

    def _facts(self, unit: Unit) -> dict[str, Any]:
        facts, attack = self.networks.facts[unit.defense], unit.attack
        known = {
            "random": facts.random,
            "passes": facts.passes,
            "seen_in_training": list(facts.seen),
            "precision": self._precision(not unit.white_box),
        }
        return known if attack is None else {**_settings(attack), **known}

    def _hits(self, unit: Unit, defense: nn.Module, source: Source) -> dict[str, Tensor]:
        victims = {name: self.networks.victims[name] for name in unit.victims}
        judge = self._judge(unit, defense, victims)
        found: dict[str, list[Tensor]] = {name: [] for name in victims}
        done = 0
        for batch, hashes in self.batches():
            shown = batch._replace(images=source(batch, hashes))
            for name, scores in judge(shown, hashes).items():
                found[name].append((scores.argmax(1) == batch.labels).cpu())
            done += len(batch.names)
            self.progress(unit.title, done, len(self.photos))
        return {name: torch.cat(parts) for name, parts in found.items()}

    def _judge(
        self, unit: Unit, defense: nn.Module, victims: dict[str, nn.Module]
    ) -> Callable[[Batch, Sequence[str]], dict[str, Tensor]]:
        """Victims behind a defense, in groups; image by image where it is random."""
        amp = self.recipe.amp if not unit.white_box else False
        facts, group = self.networks.facts[unit.defense], self.recipe.group
        if facts.random or facts.passes > 1:

            def one_by_one(batch: Batch, hashes: Sequence[str]) -> dict[str, Tensor]:
                found = []
                for row, source in enumerate(hashes):
                    reseed(defense, derive_generator(self.recipe.seed, "defense", source))
                    only = slice(row, row + 1)
                    one = Batch(batch.images[only], batch.labels[only], batch.names[only])
                    found.append(answers(defense, victims, one, amp, unit.defense))
                return {name: torch.cat([one[name] for one in found]) for name in victims}

            return one_by_one
        for name, victim in victims.items():
            self._grouped.setdefault(name, InGroups(victim, group))
        grouped = {name: self._grouped[name] for name in victims}
        behind = InGroups(defense, group)
        return lambda batch, _: answers(behind, grouped, batch, amp, unit.defense)

    def batches(self) -> Iterator[tuple[Batch, list[str]]]:
        """All images, whole groups at a time, with the hashes of their files."""
        count = span(self.recipe.batch, self.recipe.group)
        for index, batch in enumerate(self.photos.batches(count)):
            yield batch, self.photos.hashes[index * count : (index + 1) * count]

    def _source(self, unit: Unit, defense: nn.Module, adversaries: AttackCache | None) -> Source:
        attack, eps = unit.attack, unit.eps
        if attack is None or eps is None:
            return lambda batch, _: batch.images
        if adversaries is not None:
            return adversaries.get
        model = target(attack, self.networks.victims[unit.victims[0]], defense)
        make = self._attack(attack, eps, model, amp=False)
        return lambda batch, _: checked(batch.images, make(batch), eps, self.recipe.rounding)

    def _attack(
        self, attack: GridAttack, eps: float, model: nn.Module | Tensor | None, amp: Amp
    ) -> Attack:
        seed = self.recipe.seed

        def before(image: str) -> None:
            if isinstance(
                model, nn.Module
            ):  # a random defense inside draws otherwise than where it is judged
                reseed(model, derive_generator(seed, "defense under attack", image))

        runner = grid_spec(attack, eps).runner(
            model, group=self.recipe.group, seed=seed, amp=amp, before=before
        )
        return lambda batch: runner(batch.images, batch.labels)

    def _gradients(self, unit: Unit, defense: nn.Module) -> GradientCheck | None:
        if unit.attack is None or unit.attack.threat not in WHITE_BOX:
            return None
        model = target(unit.attack, self.networks.victims[unit.victims[0]], defense)
        first = self.photos.batch(0, _PROBED)
        return check_gradients(model, first.images, first.labels)

    def _made(self, unit: Unit) -> AttackCache | None:
        """The unit's attacked images, all of them on disk; None if they are made on the way."""
        if unit.attack is None or unit.eps is None or not unit.attack.transfers:
            return None
        adversaries = self.adversaries(unit.attack, unit.index, unit.eps)
        if adversaries.folder.name in self._adversaries:
            return adversaries
        done = 0
        for batch, hashes in self.batches():
            adversaries.get(batch, hashes)
            done += len(batch.names)
            self.progress(f"{unit.attack.name} attacks", done, len(self.photos))
        self._adversaries[adversaries.folder.name] = adversaries
        return adversaries

    def adversaries(self, attack: GridAttack, index: int, eps: float) -> AttackCache:
        """The store of a transfer's attacked images at one eps.

        Args:
            attack: The transfer.
            index: Its place in the recipe.
            eps: One of its budgets.
        """
        basis = self._basis(attack, [])
        weights = basis.pop("weights_sha256")
        settings = {
            **asdict(attack),
            **_settings(attack),
            **basis,
            "attack": attack.name,
            "surrogate": ",".join(surrogate_names(attack)) or None,
            "eps": eps,
            "labels_sha256": digest([item.label for item in self.photos.items]),
        }
        head = make_head(settings, weights)
        name = slug(attack.name, f"{eps * 255:.3g}", *surrogate_names(attack), attack.purifier)
        folder = self.folder / f"{name}-{digest(head)[:10]}"
        if folder.name in self._adversaries:
            return self._adversaries[folder.name]
        make = self._attack(attack, eps, self.networks.surrogates[index], self.recipe.amp)
        return AttackCache(folder, head, make, eps, self.recipe.rounding)


def _kept(adversaries: AttackCache) -> dict[str, Any]:
    """Where a cell's attacked images are, and what they cost."""
    return {
        "adversaries": adversaries.folder.name,
        "attack_seconds": round(adversaries.seconds, 3),
    }


def _met(images: Sequence[GradientCount]) -> dict[str, Any]:
    """What a cell tells of gradients that led its attack nowhere, with the number of images."""
    zero = sum(one.zero_steps > 0 for one in images)
    broken = sum(one.not_finite for one in images)
    if not zero and not broken:
        return {}
    return {"gradients": {"images": len(images), "zero": zero, "not_finite": broken}}


def _settings(attack: GridAttack) -> dict[str, Any]:
    """What the attack did, defaults filled in, as plain values."""
    chosen = settings_in_force(grid_spec(attack).entry, attack.preset, attack.given)
    plain = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in chosen.items()
    }
    named = {"layers": list(attack.layer), "labels": attack.labels, "purifier": attack.purifier}
    if attack.trained:
        named["trained"] = Path(attack.trained).name
    return {**plain, "preset": attack.preset, **named, "bpda": attack.bpda}


@torch.no_grad()
def answers(
    defense: nn.Module, victims: dict[str, nn.Module], batch: Batch, amp: Amp, spec: str
) -> dict[str, Tensor]:
    """What victims say of N×3×H×W images behind a defense: N×classes scores by victim.

    A defense of one pass works once for all victims; one of several passes anew for each.

    Raises:
        InputError: Defended images or scores are not finite.
    """
    images, names = batch.images, batch.names
    if getattr(defense, "passes", 1) > 1:
        found = {name: protect(victim, defense)(images) for name, victim in victims.items()}
    else:
        with autocast(images.device, amp):
            defended = defense(images)
        check_finite(defended, names, "images", spec)
        with enlarged(images, defended):
            found = {name: victim(defended.float()) for name, victim in victims.items()}
    for name, scores in found.items():
        check_finite(scores, names, f"logits of {name}", spec)
    return found
