"""The one loop: images → attack → defense → victims → metrics, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.gradient_log import GradientCount, log_gradients
from nrpurify.core.groups import InGroups
from nrpurify.core.precision import autocast
from nrpurify.core.random import derive_generator
from nrpurify.defenses.randomness import reseed
from nrpurify.evaluation.adversaries import Adversaries, attack_settings
from nrpurify.evaluation.cache import AttackCache, checked
from nrpurify.evaluation.cells import Hits, Unit, cell_ids, describe
from nrpurify.evaluation.metrics import METRICS, Metric, value_names
from nrpurify.evaluation.predictions import Predictions, predictions
from nrpurify.evaluation.profiler import Meter
from nrpurify.evaluation.setup import Chunk, Setup
from nrpurify.evaluation.threats import WHITE_BOX, GradientCheck, check_gradients, target
from nrpurify.results import Result

Cells = list[tuple[Result, Hits]]
_PROBED = 4


@dataclass
class Measurement:
    """Images and networks of a plan, and the attacked images made so far.

    Attributes:
        setup: What is measured, on what, with what.
        adversaries: Makes and keeps attacked images.
        clean: Right answers to clean images, undefended, by victim and metric.
    """

    setup: Setup
    clean: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    _grouped: dict[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Attacked images are made by the same setup."""
        self.adversaries = Adversaries(self.setup)

    def ids(self, unit: Unit, victim: str) -> dict[str, dict[str, str]]:
        """The ids of a victim's results in a unit by metric and value.

        They are others as soon as anything that decides a value is another.
        """
        basis = {
            **self.setup.basis(unit.attack, [victim, unit.defense]),
            "images": self.setup.samples.hashes,
            "targets": self.setup.samples.identity,
        }
        return {
            metric: cell_ids(unit, victim, self.setup.plan.task, metric, basis)
            for metric in self.setup.plan.metrics
        }

    def measure(self, unit: Unit) -> dict[str, Cells]:
        """Measure the results of a unit, by victim.

        Raises:
            InputError: Images or predictions that hold NaN, or attacked images that cannot be used.
            AssertionError: The attack left its budget.
        """
        defense = self.setup.networks.defense(unit.defense)
        adversaries = self.adversaries.made(unit)
        with Meter(self.setup.device) as meter:
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
            for spec in self.setup.plan.metrics:
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
        attack, passes = unit.attack, self.setup.networks.facts[unit.defense].passes
        memory, hits = meter.peak_memory_mb, getattr(metric, "hits", None)
        clean = self.clean.get((victim, spec), hits)
        if hasattr(metric, "clean_hits"):
            metric.clean_hits = clean
        settings = {
            **shared,
            **self.setup.facts[victim],
            "in_mean": not unit.is_own_surrogate(victim),
        }
        steps = settings.get("steps") if unit.made is None else unit.made.steps
        names = self.ids(unit, victim)[spec]
        found = metric.compute(seed=self.setup.plan.seed)
        if set(found) != set(names):
            raise TypeError(
                f"the metric {spec} gave {', '.join(found)}; its register_metric has "
                f"values={tuple(names)}"
            )
        for value, estimate in found.items():
            result = Result(
                id=names[value],
                **describe(unit, victim, self.setup.plan.task),
                metric=value,
                value=estimate.value,
                interval=(estimate.low, estimate.high),
                n=estimate.n,
                **_success(metric, hits, clean),
                steps=steps,
                draws=attack.draws if attack and attack.draws > 1 else passes,
                rounding=self.setup.plan.rounding,
                precision=self.setup.precision(not unit.white_box),
                seconds=round(meter.seconds / len(unit.victims), 3),
                peak_memory_mb=None if memory is None else round(memory, 1),
                seed=self.setup.plan.seed,
                settings=settings,
            )
            yield result, hits

    def _known(self, unit: Unit) -> dict[str, Any]:
        """Settings of the attack, and facts about the defense."""
        facts, attack = self.setup.networks.facts[unit.defense], unit.attack
        known: dict[str, Any] = {
            "random": facts.random,
            "passes": facts.passes,
            "seen_in_training": list(facts.seen),
        }
        if unit.made is not None:
            return {**unit.made.settings, **known}
        return known if attack is None else {**attack_settings(attack), **known}

    def _count(
        self, unit: Unit, defense: nn.Module, source: Callable[[Chunk], Tensor]
    ) -> dict[str, dict[str, Metric]]:
        """The metrics of each victim, over all images."""
        metrics = {
            victim: {spec: METRICS.create(spec) for spec in self.setup.plan.metrics}
            for victim in unit.victims
        }
        ask = self.asker(unit, defense)
        for chunk in self.setup.chunks():
            aims = self.setup.targets(unit.attack, chunk.batch)
            for victim, found in ask(chunk, source(chunk)).items():
                for metric in metrics[victim].values():
                    if hasattr(metric, "attack_targets"):
                        metric.attack_targets = None if aims is None else aims.tolist()
                    metric.update(found, chunk.targets)
            self.setup.progress.update(unit.title, chunk.rows.stop, len(self.setup.samples))
        return metrics

    def asker(
        self, unit: Unit, defense: nn.Module
    ) -> Callable[[Chunk, Tensor], dict[str, Predictions]]:
        """Asks victims behind a defense, in groups; image by image where it is random."""
        victims = {name: self.setup.networks.victims[name] for name in unit.victims}
        amp = self.setup.plan.amp if not unit.white_box else False
        facts = self.setup.networks.facts[unit.defense]
        if facts.random or facts.passes > 1:

            def one_by_one(chunk: Chunk, images: Tensor) -> dict[str, Predictions]:
                found: dict[str, list[Any]] = {name: [] for name in victims}
                for row, name in enumerate(self.setup.samples.names[chunk.rows]):
                    source = self.setup.samples.hashes[chunk.rows][row]
                    reseed(defense, derive_generator(self.setup.plan.seed, "defense", source))
                    one = predictions(
                        self.setup.task, defense, victims, images[row : row + 1], [name], amp,
                        unit.defense,
                    )  # fmt: skip
                    for victim, answer in one.items():
                        found[victim].append(answer)
                return {victim: _joined(parts) for victim, parts in found.items()}

            return one_by_one
        behind: nn.Module = defense
        if self.setup.task.one_size:
            behind = InGroups(defense, self.setup.group)
            for name, victim in victims.items():
                self._grouped.setdefault(name, InGroups(victim, self.setup.group))
            victims = {name: self._grouped[name] for name in victims}
        return lambda chunk, images: predictions(
            self.setup.task,
            behind,
            victims,
            images,
            self.setup.samples.names[chunk.rows],
            amp,
            unit.defense,
        )

    @torch.no_grad()
    def defended(self, spec: str, chunk: Chunk, images: Tensor) -> Tensor:
        """A chunk's images behind a defense, by one pass."""
        defense, found = self.setup.networks.defense(spec), []
        for row, source in enumerate(self.setup.samples.hashes[chunk.rows]):
            reseed(defense, derive_generator(self.setup.plan.seed, "defense", source))
            with autocast(images.device, self.setup.plan.amp):
                found.append(defense(images[row : row + 1]).float())
        return torch.cat(found)

    def _source(
        self, unit: Unit, defense: nn.Module, adversaries: AttackCache | None
    ) -> Callable[[Chunk], Tensor]:
        attack, eps = unit.attack, unit.eps
        if attack is None or eps is None:
            return lambda chunk: chunk.batch.images
        if adversaries is not None or unit.made is not None:
            return lambda chunk: self.adversaries.get(unit, chunk, adversaries)
        model = target(attack, self.setup.networks.victims[unit.victims[0]], defense)
        make = self.adversaries.attack(attack, eps, model, amp=False)
        return lambda chunk: checked(
            chunk.batch.images, make(chunk.batch), eps, self.setup.plan.rounding, attack.norm
        )

    def _gradients(self, unit: Unit, defense: nn.Module) -> GradientCheck | None:
        if unit.attack is None or unit.attack.threat not in WHITE_BOX:
            return None
        model = target(unit.attack, self.setup.networks.victims[unit.victims[0]], defense)
        first = self.setup.chunk(0, _PROBED).batch
        return check_gradients(model, first.images, first.labels)


def _joined(parts: list[Any]) -> Predictions:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [row for part in parts for row in part]


def _success(metric: Metric, hits: Hits, clean: Hits) -> dict[str, Any]:
    """Both success rates of an attack, where the metric knows right and wrong answers."""
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
    """What a cell records of gradients that led its attack nowhere, with the number of images."""
    zero = sum(one.zero_steps > 0 for one in images)
    broken = sum(one.not_finite for one in images)
    if not zero and not broken:
        return {}
    return {"gradients": {"images": len(images), "zero": zero, "not_finite": broken}}
