"""The cells of a grid: which there are, what each one is called, and what is written of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.files import read_json, write_json
from nrpurify.core.spec import same_network
from nrpurify.evaluation.grid_recipe import GridAttack, GridRecipe
from nrpurify.evaluation.networks import surrogate_names
from nrpurify.results import Result, read_result, result_id, share


@dataclass(frozen=True)
class Unit:
    """Cells that are measured together: they share attacked and defended images.

    Attributes:
        defense: A spec.
        victims: One cell each; a single one where the attack looks at it.
        attack: None for clean images.
        index: The attack's place in the recipe.
        eps: Its budget.
    """

    defense: str
    victims: tuple[str, ...]
    attack: GridAttack | None = None
    index: int = -1
    eps: float | None = None

    @property
    def white_box(self) -> bool:
        """Whether defense and victim are looked at or asked."""
        return self.attack is not None and not self.attack.transfers

    @property
    def title(self) -> str:
        """For people, such as ``ssp 16/255 on fast``."""
        if self.attack is None or self.eps is None:
            return f"clean on {self.defense}"
        return f"{self.attack.name} {self.eps * 255:g}/255 on {self.defense}"


def units(recipe: GridRecipe) -> Iterator[Unit]:
    """All units of a grid, clean images first; those without a defense are always among them."""
    for defense in dict.fromkeys(("none", *recipe.defenses)):
        yield Unit(defense, recipe.victims)
    for index, attack in enumerate(recipe.attacks):
        groups = [recipe.victims] if attack.transfers else [(name,) for name in recipe.victims]
        for eps in attack.eps:
            for defense in recipe.defenses:
                for victims in groups:
                    yield Unit(defense, victims, attack, index, eps)


def cell_id(unit: Unit, victim: str, basis: dict[str, Any]) -> str:
    """The id of a result, see :func:`nrpurify.results.result_id`.

    Args:
        unit: Where the cell belongs.
        victim: Its victim.
        basis: Images, seed, settings of the run and hashes of weights.
    """
    attack = unit.attack
    decided = {
        **basis,
        "task": "classify",
        "attack": "clean" if attack is None else attack.name,
        "eps": unit.eps,
        "attack_settings": None if attack is None else asdict(attack) | {"eps": unit.eps},
        "defense": unit.defense,
        "victim": victim,
        "metric": "accuracy",
    }
    return result_id(decided)


def is_own_surrogate(unit: Unit, victim: str) -> bool:
    """Whether a transfer's victim is the surrogate, or in the ensemble: no transfer at all."""
    if unit.attack is None or not unit.attack.transfers:
        return False
    return any(same_network(victim, name) for name in surrogate_names(unit.attack))


def describe(unit: Unit, victim: str) -> dict[str, Any]:
    """The part of a result that is known before it is measured."""
    attack = unit.attack
    names = surrogate_names(attack) if attack is not None else ()
    own = is_own_surrogate(unit, victim)
    return {
        "task": "classify",
        "attack": "clean" if attack is None else attack.name,
        "surrogate": ",".join(names) or None,
        "eps": unit.eps,
        "norm": None if unit.eps is None else "linf",
        "threat": "none" if attack is None else attack.threat,
        "defense": unit.defense,
        "victim": victim,
        "notes": ("the victim is the surrogate: in no mean",) if own else (),
    }


def counted(hits: Tensor, clean: Tensor) -> dict[str, Any]:
    """Accuracy, its interval and both success rates.

    Args:
        hits: N booleans: right answers.
        clean: N booleans: right answers of the same victim to the clean images, undefended.
    """
    found, known = share(hits.tolist()), int(clean.sum())
    kept = int((hits & clean).sum())
    return {
        "metric": "accuracy",
        "value": found.value,
        "interval": (found.low, found.high),
        "n": found.n,
        "success": 1 - found.value,
        "conditional_success": 1 - kept / known if known else None,
    }


def save_cell(folder: Path, cell: Result, hits: Tensor) -> None:
    """Write a finished cell and which images were right, whole or not at all."""
    row = "".join("1" if hit else "0" for hit in hits.tolist())
    write_json(folder / f"{cell.id}.json", {**cell.to_dict(), "hits": row})


def read_cell(folder: Path, name: str, count: int) -> tuple[Result, Tensor] | None:
    """A finished cell and its hits on ``count`` images; None without one, or with a broken one."""
    try:
        values = read_json(folder / f"{name}.json")
        row = values.pop("hits")
        cell = read_result(values)
        if cell.id != name or len(row) != count:
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):
        return None
    return cell, torch.tensor([mark == "1" for mark in row])
