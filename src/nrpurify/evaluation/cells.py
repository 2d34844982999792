"""The results of a plan: which there are, their ids, and what is written of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.core.files import read_json, write_json
from nrpurify.core.spec import parse_one, same_network
from nrpurify.evaluation.made_before import MadeBefore
from nrpurify.evaluation.metrics import value_names
from nrpurify.evaluation.networks import surrogate_names
from nrpurify.evaluation.plan import EvaluationPlan, PlannedAttack
from nrpurify.results import Result, read_result, result_id
from nrpurify.results.budget import Budget

Hits = list[bool] | None
"""Which images were right; None where a metric does not tell."""


@dataclass(frozen=True)
class Unit:
    """Results that are measured together: they share attacked and defended images.

    Attributes:
        defense: A spec.
        victims: One or more; a single one where the attack looks at it.
        attack: None for clean images.
        index: The attack's place in the plan.
        eps: Its budget.
        made: Its images, where they were made before.
    """

    defense: str
    victims: tuple[str, ...]
    attack: PlannedAttack | None = None
    index: int = -1
    eps: float | None = None
    made: MadeBefore | None = None

    @property
    def white_box(self) -> bool:
        """Whether defense and victim are looked at or asked."""
        return self.attack is not None and not self.attack.transfers

    @property
    def name(self) -> str:
        """Of the attack; ``clean`` without any."""
        if self.attack is None:
            return "clean"
        return self.made.name if self.made is not None else self.attack.name

    @property
    def surrogates(self) -> tuple[str, ...]:
        """The networks that were attacked in a transfer."""
        if self.made is not None:
            return self.made.surrogates
        return surrogate_names(self.attack) if self.attack is not None else ()

    @property
    def norm(self) -> str | None:
        """Of the budget; None for clean images."""
        if self.made is not None:
            return self.made.norm
        return None if self.attack is None else self.attack.norm

    @property
    def budget(self) -> str:
        """For people, such as ``16/255``; empty for clean images."""
        budget = Budget.of(self.eps, self.norm)
        return budget.text(6) if budget else ""

    @property
    def title(self) -> str:
        """For people, such as ``ssp 16/255 on fast``."""
        return f"{' '.join(filter(None, (self.name, self.budget)))} on {self.defense}"

    def is_own_surrogate(self, victim: str) -> bool:
        """Whether a transfer's victim is the surrogate, or in the ensemble: no transfer at all."""
        if self.attack is None or not self.attack.transfers:
            return False
        return any(same_network(victim, name) for name in self.surrogates)


def units(plan: EvaluationPlan, made: Mapping[int, MadeBefore]) -> Iterator[Unit]:
    """All units of a plan, clean images first; those without a defense are always among them.

    Args:
        plan: With its victims.
        made: Images made before, by the attack's place in the plan.
    """
    for defense in dict.fromkeys(("none", *plan.defenses)):
        yield Unit(defense, plan.victims)
    for index, attack in enumerate(plan.attacks):
        groups = [plan.victims] if attack.transfers else [(name,) for name in plan.victims]
        before = made.get(index)
        for eps in attack.eps if before is None else (before.eps,):
            for defense in plan.defenses:
                for victims in groups:
                    yield Unit(defense, victims, attack, index, eps, before)


def cell_ids(unit: Unit, victim: str, task: str, metric: str, basis: Any) -> dict[str, str]:
    """The id of each value of a metric, see :func:`nrpurify.results.result_id`.

    Args:
        unit: Where the results belong.
        victim: Its victim.
        task: As the plan has it.
        metric: As the plan has it.
        basis: Images, targets, seed, settings of the run and hashes of weights.
    """
    settings = None if unit.attack is None else unit.attack.decides | {"eps": unit.eps}
    if unit.made is not None:
        settings = {"made before": unit.made.settings, "eps": unit.eps}
    decided = {
        "basis": basis,
        "task": task,
        "attack": unit.name,
        "eps": unit.eps,
        "norm": unit.norm,
        "attack_settings": settings,
        "defense": unit.defense,
        "victim": victim,
        "metric_spec": metric,
    }
    return {value: result_id({**decided, "metric": value}) for value in value_names(metric)}


def describe(unit: Unit, victim: str, task: str) -> dict[str, Any]:
    """The part of a result that is known before it is measured."""
    attack = unit.attack
    own = unit.is_own_surrogate(victim)
    return {
        "task": parse_one(task, "task").name,
        "attack": unit.name,
        "label": "" if attack is None else attack.label,
        "surrogate": ",".join(unit.surrogates) or None,
        "eps": unit.eps,
        "norm": unit.norm,
        "threat": "none" if attack is None else attack.threat,
        "defense": unit.defense,
        "victim": victim,
        "notes": ("the victim is the surrogate: in no mean",) if own else (),
    }


def save_cell(folder: Path, cell: Result, hits: Hits) -> None:
    """Write a finished result and which images were right, whole or not at all."""
    row = {} if hits is None else {"hits": "".join("1" if hit else "0" for hit in hits)}
    write_json(folder / f"{cell.id}.json", {**cell.to_dict(), **row})


def read_cell(folder: Path, name: str, count: int, label: str = "") -> tuple[Result, Hits] | None:
    """A finished result and its hits; None without one, or with a broken one.

    Args:
        folder: Of the results.
        name: Its id.
        count: The number of images.
        label: The plan's present name of its attack.
    """
    try:
        values = read_json(folder / f"{name}.json")
        row = values.pop("hits", None)
        cell = read_result(values)
        if cell.id != name or (row is not None and len(row) != count):
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):
        return None
    return replace(cell, label=label), None if row is None else [mark == "1" for mark in row]


def kept_cells(
    folder: Path, names: Sequence[str], count: int, label: str
) -> list[tuple[Result, Hits]] | None:
    """All results of these ids; None unless all are there."""
    found = [read_cell(folder, name, count, label) for name in names]
    kept = [one for one in found if one is not None]
    return kept if len(kept) == len(names) else None
