"""The one loop: images → attack → defense → victims → metrics, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
from nrpurify.core.progress import Progress
from nrpurify.core.random import derive_generator
from nrpurify.defenses.randomness import reseed
from nrpurify.evaluation.attack_runner import typed_settings
from nrpurify.evaluation.batches import Attack, Batch
from nrpurify.evaluation.cache import AttackCache, checked
from nrpurify.evaluation.cells import Hits, Unit, cell_ids, describe
from nrpurify.evaluation.made_before import HALF_STEP, MadeBefore
from nrpurify.evaluation.metrics import METRICS, Metric, value_names
from nrpurify.evaluation.networks import Networks, attack_spec, surrogate_names, trained_name
from nrpurify.evaluation.plan import EvaluationPlan, PlannedAttack
from nrpurify.evaluation.predictions import Predictions, predictions
from nrpurify.evaluation.profiler import Meter
from nrpurify.evaluation.targets import drawn_targets
from nrpurify.evaluation.tasks import Samples, Task
from nrpurify.evaluation.threats import WHITE_BOX, GradientCheck, check_gradients, target
from nrpurify.results import Result

Cells = list[tuple[Result, Hits]]
_PROBED = 4


@dataclass(frozen=True)
class Chunk:
    """Some images of a run: a batch, their targets, and the numbers of first and last."""

    batch: Batch
    targets: list[Any]
    rows: slice


@dataclass
class Measurement:
    """Images and networks of a plan, and the attacked images made so far.

    Attributes:
        plan: What is measured; with victims and metrics.
        task: What is asked.
        samples: On what.
        networks: With what.
        facts: What the task knows of each victim.
        made: Images made before, by the attack's place in the plan.
        folder: Where attacked images are kept.
        versions: Of this package, torch and Python.
        device: Where to work.
        progress: Watches.
    """

    plan: EvaluationPlan
    task: Task
    samples: Samples
    networks: Networks
    facts: dict[str, dict[str, Any]]
    made: dict[int, MadeBefore]
    folder: Path
    versions: dict[str, str]
    device: str
    progress: Progress
    clean: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    """Right answers to clean images, undefended, by victim and metric."""
    _adversaries: dict[str, AttackCache] = field(default_factory=dict)
    _grouped: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def group(self) -> int:
        """Images that a network sees together."""
        return self.plan.group if self.task.one_size else 1

    def ids(self, unit: Unit, victim: str) -> dict[str, dict[str, str]]:
        """The ids of a victim's results in a unit by metric and value.

        They are others as soon as anything that decides a value is another.
        """
        basis = {
            **self._basis(unit.attack, [victim, unit.defense]),
            "images": self.samples.hashes,
            "targets": self.samples.identity,
        }
        return {
            metric: cell_ids(unit, victim, self.plan.task, metric, basis)
            for metric in self.plan.metrics
        }

    def _basis(self, attack: PlannedAttack | None, names: Sequence[str]) -> dict[str, Any]:
        surrogates = surrogate_names(attack) if attack else ()
        own = [attack.purifier, trained_name(attack)] if attack else []
        names = [*names, *surrogates, *(f"features of {name}" for name in surrogates), *own]
        used = {name: sha for name, sha in self.networks.hashes.items() if name in names}
        return {
            "size": self.samples.size,
            "seed": self.plan.seed,
            "group": self.group,
            "rounding": self.plan.rounding,
            "precision": self._precision(attack is None or attack.transfers),
            "weights_sha256": used,
            "versions": self.versions,
            **({"classes": self._classes} if attack and attack.labels == "random" else {}),
        }

    def _precision(self, may_be_half: bool) -> str:
        return arithmetic(self.plan.amp, self.device) if may_be_half else "fp32"

    def measure(self, unit: Unit) -> dict[str, Cells]:
        """Measure the results of a unit, by victim.

        Raises:
            InputError: Images or predictions that hold NaN, or attacked images that cannot be used.
            AssertionError: The attack left its budget.
        """
        defense = self.networks.defense(unit.defense)
        adversaries = self._made(unit)
        with Meter(self.device) as meter:
            gradients = self._gradients(unit, defense)
            with log_gradients() as log:
                metrics = self._count(unit, defense, self._source(unit, defense, adversaries))
        shared = {
            **self._known(unit),
            **({} if gradients is None else gradients._asdict()),
            **({} if adversaries is None else _kept(adversaries)),
            **_met(log.images if adversaries is None else adversaries.gradients()),
        }
        return {
            victim: [
                pair
                for spec, metric in found.items()
                for pair in self._cells(unit, victim, spec, metric, meter, shared)
            ]
            for victim, found in metrics.items()
        }

    def remember_clean(self, unit: Unit, victim: str, cells: Cells) -> None:
        """Keep the right answers of the unit of clean images without a defense."""
        if unit.attack is None and unit.defense == "none":
            by_value = {cell.metric: hits for cell, hits in cells}
            for spec in self.plan.metrics:
                hits = by_value.get(value_names(spec)[0])
                if hits is not None:
                    self.clean[victim, spec] = hits

    def _cells(
        self,
        unit: Unit,
        victim: str,
        spec: str,
        metric: Metric,
        meter: Meter,
        shared: dict[str, Any],
    ) -> Iterator[tuple[Result, Hits]]:
        attack, passes = unit.attack, self.networks.facts[unit.defense].passes
        memory, hits = meter.peak_memory_mb, getattr(metric, "hits", None)
        clean = self.clean.get((victim, spec), hits)
        if hasattr(metric, "clean_hits"):
            metric.clean_hits = clean
        settings = {
            **shared,
            **self.facts[victim],
            "in_mean": not unit.is_own_surrogate(victim),
        }
        steps = settings.get("steps") if unit.made is None else unit.made.steps
        names = self.ids(unit, victim)[spec]
        found = metric.compute(seed=self.plan.seed)
        if set(found) != set(names):
            raise TypeError(
                f"the metric {spec} gave {', '.join(found)}; its register_metric says "
                f"values={tuple(names)}"
            )
        for value, estimate in found.items():
            result = Result(
                id=names[value],
                **describe(unit, victim, self.plan.task),
                metric=value,
                value=estimate.value,
                interval=(estimate.low, estimate.high),
                n=estimate.n,
                **_success(metric, hits, clean),
                steps=steps,
                draws=attack.draws if attack and attack.draws > 1 else passes,
                rounding=self.plan.rounding,
                precision=self._precision(not unit.white_box),
                seconds=round(meter.seconds / len(unit.victims), 3),
                peak_memory_mb=None if memory is None else round(memory, 1),
                seed=self.plan.seed,
                settings=settings,
            )
            yield result, hits

    def _known(self, unit: Unit) -> dict[str, Any]:
        """Settings of the attack, and facts about the defense."""
        facts, attack = self.networks.facts[unit.defense], unit.attack
        known: dict[str, Any] = {
            "random": facts.random,
            "passes": facts.passes,
            "seen_in_training": list(facts.seen),
        }
        if unit.made is not None:
            return {**unit.made.settings, **known}
        return known if attack is None else {**_settings(attack), **known}

    def _count(
        self, unit: Unit, defense: nn.Module, source: Callable[[Chunk], Tensor]
    ) -> dict[str, dict[str, Metric]]:
        """The metrics of each victim, over all images."""
        metrics = {
            victim: {spec: METRICS.create(spec) for spec in self.plan.metrics}
            for victim in unit.victims
        }
        ask = self.asker(unit, defense)
        for chunk in self.chunks():
            aims = self._targets(unit.attack, chunk.batch)
            for victim, found in ask(chunk, source(chunk)).items():
                for metric in metrics[victim].values():
                    if hasattr(metric, "attack_targets"):
                        metric.attack_targets = None if aims is None else aims.tolist()
                    metric.update(found, chunk.targets)
            self.progress.update(unit.title, chunk.rows.stop, len(self.samples))
        return metrics

    def asker(
        self, unit: Unit, defense: nn.Module
    ) -> Callable[[Chunk, Tensor], dict[str, Predictions]]:
        """Asks victims behind a defense, in groups; image by image where it is random."""
        victims = {name: self.networks.victims[name] for name in unit.victims}
        amp = self.plan.amp if not unit.white_box else False
        facts = self.networks.facts[unit.defense]
        if facts.random or facts.passes > 1:

            def one_by_one(chunk: Chunk, images: Tensor) -> dict[str, Predictions]:
                found: dict[str, list[Any]] = {name: [] for name in victims}
                for row, name in enumerate(self.samples.names[chunk.rows]):
                    source = self.samples.hashes[chunk.rows][row]
                    reseed(defense, derive_generator(self.plan.seed, "defense", source))
                    one = predictions(
                        self.task, defense, victims, images[row : row + 1], [name], amp,
                        unit.defense,
                    )  # fmt: skip
                    for victim, answer in one.items():
                        found[victim].append(answer)
                return {victim: _joined(parts) for victim, parts in found.items()}

            return one_by_one
        behind: nn.Module = defense
        if self.task.one_size:
            behind = InGroups(defense, self.group)
            for name, victim in victims.items():
                self._grouped.setdefault(name, InGroups(victim, self.group))
            victims = {name: self._grouped[name] for name in victims}
        return lambda chunk, images: predictions(
            self.task, behind, victims, images, self.samples.names[chunk.rows], amp, unit.defense
        )

    @torch.no_grad()
    def defended(self, spec: str, chunk: Chunk, images: Tensor) -> Tensor:
        """A chunk's images behind a defense, by one pass."""
        defense, found = self.networks.defense(spec), []
        for row, source in enumerate(self.samples.hashes[chunk.rows]):
            reseed(defense, derive_generator(self.plan.seed, "defense", source))
            with autocast(images.device, self.plan.amp):
                found.append(defense(images[row : row + 1]).float())
        return torch.cat(found)

    def chunks(self) -> Iterator[Chunk]:
        """All images: whole groups at a time, or one by one where sizes differ."""
        count = span(self.plan.batch, self.group) if self.task.one_size else 1
        for start in range(0, len(self.samples), count):
            yield self.chunk(start, start + count)

    def chunk(self, start: int, end: int) -> Chunk:
        """Images ``start`` to ``end``, which have one size."""
        end = min(end, len(self.samples))
        batch, targets = self.samples.batch(start, end, self.device, self.task.class_labels)
        return Chunk(batch, targets, slice(start, end))

    def _source(
        self, unit: Unit, defense: nn.Module, adversaries: AttackCache | None
    ) -> Callable[[Chunk], Tensor]:
        attack, eps = unit.attack, unit.eps
        if attack is None or eps is None:
            return lambda chunk: chunk.batch.images
        if adversaries is not None or unit.made is not None:
            return lambda chunk: self.transferred(unit, chunk, adversaries)
        model = target(attack, self.networks.victims[unit.victims[0]], defense)
        make = self._attack(attack, eps, model, amp=False)
        return lambda chunk: checked(
            chunk.batch.images, make(chunk.batch), eps, self.plan.rounding, attack.norm
        )

    def transferred(
        self, unit: Unit, chunk: Chunk, adversaries: AttackCache | None = None
    ) -> Tensor:
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
            attacked = unit.made.get(chunk.batch, self.samples.paths[chunk.rows])
            return checked(clean, attacked, unit.eps + HALF_STEP, self.plan.rounding)
        kept = adversaries or self.adversaries(unit.attack, unit.index, unit.eps)
        return kept.get(chunk.batch, self.samples.hashes[chunk.rows])

    def _attack(
        self, attack: PlannedAttack, eps: float, model: nn.Module | Tensor | None, amp: Amp
    ) -> Attack:
        seed, labeled = self.plan.seed, self.task.class_labels

        def before(image: str) -> None:
            if isinstance(
                model, nn.Module
            ):  # a random defense inside draws otherwise than where it is judged
                reseed(model, derive_generator(seed, "defense under attack", image))

        runner = attack_spec(attack, eps).runner(
            model, group=self.group, seed=seed, amp=amp, before=before
        )

        def make(batch: Batch) -> Tensor:
            aims = self._targets(attack, batch)
            with torch.enable_grad():
                classes = batch.labels if aims is None else aims
                return runner(batch.images, classes if labeled else None).detach()

        return make

    @property
    def _classes(self) -> int:
        """Classes that all victims have."""
        return min(int(facts["classes"]) for facts in self.facts.values())

    def _targets(self, attack: PlannedAttack | None, batch: Batch) -> Tensor | None:
        """The classes toward which an attack leads; None for one that leads away."""
        if attack is None or attack.labels != "random":
            return None
        return drawn_targets(batch, self._classes, self.plan.seed)

    def _gradients(self, unit: Unit, defense: nn.Module) -> GradientCheck | None:
        if unit.attack is None or unit.attack.threat not in WHITE_BOX:
            return None
        model = target(unit.attack, self.networks.victims[unit.victims[0]], defense)
        first = self.chunk(0, _PROBED).batch
        return check_gradients(model, first.images, first.labels)

    def _made(self, unit: Unit) -> AttackCache | None:
        """The unit's attacked images, all of them on disk; None if they are made on the way."""
        if unit.attack is None or unit.eps is None or not unit.attack.transfers or unit.made:
            return None
        adversaries = self.adversaries(unit.attack, unit.index, unit.eps)
        if adversaries.folder.name in self._adversaries:
            return adversaries
        for chunk in self.chunks():
            adversaries.get(chunk.batch, self.samples.hashes[chunk.rows])
            self.progress.update(f"{unit.attack.name} attacks", chunk.rows.stop, len(self.samples))
        self._adversaries[adversaries.folder.name] = adversaries
        return adversaries

    def adversaries(self, attack: PlannedAttack, index: int, eps: float) -> AttackCache:
        """The store of a transfer's attacked images at one budget.

        Args:
            attack: The transfer.
            index: Its place in the plan.
            eps: One of its budgets.
        """
        basis = self._basis(attack, [])
        weights = basis.pop("weights_sha256")
        settings = {
            **attack.decides,
            **_settings(attack),
            **basis,
            "attack": attack.name,
            "surrogate": ",".join(surrogate_names(attack)) or None,
            "eps": eps,
            "targets_sha256": digest(self.samples.identity),
        }
        head = make_head(settings, weights)
        name = slug(attack.name, f"{eps * 255:.3g}", *surrogate_names(attack), attack.purifier)
        folder = self.folder / f"{name}-{digest(head)[:10]}"
        if folder.name in self._adversaries:
            return self._adversaries[folder.name]
        make = self._attack(attack, eps, self.networks.surrogates[index], self.plan.amp)
        return AttackCache(folder, head, make, eps, self.plan.rounding, attack.norm)


def _joined(parts: list[Any]) -> Predictions:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [row for part in parts for row in part]


def _success(metric: Metric, hits: Hits, clean: Hits) -> dict[str, Any]:
    """Both success rates of an attack, where the metric tells right from wrong."""
    if hits is None or clean is None or not getattr(metric, "tells_success", False):
        return {}
    known = sum(clean)
    kept = sum(hit and before for hit, before in zip(hits, clean, strict=True))
    return {
        "success": 1 - sum(hits) / len(hits),
        "conditional_success": 1 - kept / known if known else None,
    }


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


def _settings(attack: PlannedAttack) -> dict[str, Any]:
    """What the attack did, defaults filled in, as plain values."""
    entry = attack_spec(attack).entry
    chosen = settings_in_force(entry, attack.preset, typed_settings(entry, attack.given))
    plain = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in chosen.items()
    }
    named = {"layers": list(attack.layer), "labels": attack.labels, "purifier": attack.purifier}
    if attack.trained:
        named["trained"] = Path(attack.trained).name
    return {**plain, "preset": attack.preset, **named, "bpda": attack.bpda}
