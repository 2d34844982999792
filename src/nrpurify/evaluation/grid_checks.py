"""What of a grid's recipe can be refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from nrpurify.attacks import registry
from nrpurify.attacks.registry import AttackEntry
from nrpurify.attacks.trained import LOADERS, locate
from nrpurify.core.config import Place, RecipeError
from nrpurify.core.errors import InputError
from nrpurify.evaluation.grid_recipe import SCORE_BASED, GridAttack, GridRecipe, distance

Problem = tuple[Place, str]
_OWN = {"targeted", "features", "layer"}
"""What the recipe gives by fields of its own, or not at all."""


def check_grid(recipe: GridRecipe) -> None:
    """Refuse a recipe that cannot be run, all its problems at once.

    Raises:
        RecipeError: Unknown attacks, presets or settings, threats that do not go with an attack,
            numbers out of range, empty or repeated entries; each with its place.
    """
    problems = [*_numbers(recipe), *_lists(recipe)]
    for index, attack in enumerate(recipe.attacks):
        place = ("attacks", index)
        problems += [((*place, key), text) for key, text in _attack_problems(attack)]
    if problems:
        raise RecipeError(*problems)


def _numbers(recipe: GridRecipe) -> Iterator[Problem]:
    given: tuple[tuple[Place, int | None, int], ...] = (
        (("batch",), recipe.batch, 1),
        (("group",), recipe.group, 1),
        (("seed",), recipe.seed, 0),
        (("images", "limit"), recipe.images.limit, 1),
        (("images", "size"), recipe.images.size, 16),
    )
    for place, value, least in given:
        if value is not None and value < least:
            yield place, f"{value} given; expected at least {least}"


def _lists(recipe: GridRecipe) -> Iterator[Problem]:
    named: dict[str, Sequence[Any]] = {
        "victims": recipe.victims,
        "defenses": recipe.defenses,
        "attacks": recipe.attacks,
    }
    for name, entries in named.items():
        if not entries and name != "attacks":
            yield (name,), "nothing given; expected at least one"
        for index, entry in enumerate(entries):
            if entry in entries[:index]:
                yield (name, index), "came before; keep one of them"


def _attack_problems(attack: GridAttack) -> Iterator[tuple[str, str]]:
    try:
        entry = registry.get(attack.name)
    except InputError as error:
        yield "name", str(error)
        return
    yield from _budget_problems(attack)
    yield from _setting_problems(attack, entry)
    yield from _threat_problems(attack, entry)
    yield from _surrogate_problems(attack, entry)


def _budget_problems(attack: GridAttack) -> Iterator[tuple[str, str]]:
    if not attack.eps or len(set(attack.eps)) < len(attack.eps):
        yield "eps", f"{list(attack.eps)} given; expected one or more different budgets"
    for value in attack.eps:
        yield from _refused("eps", partial(distance, value))
    if attack.step_size is not None:
        yield from _refused("step_size", lambda: distance(attack.step_size))
    if attack.steps is not None and attack.steps < 1:
        yield "steps", f"{attack.steps} given; expected at least 1"


def _setting_problems(attack: GridAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    yield from _refused("preset", lambda: entry.defaults(attack.preset))
    known = sorted(set(entry.settings) - _OWN)
    for name in attack.given:
        if name not in known:
            key = name if name in ("steps", "step_size") else "settings"
            yield key, f"{attack.name} has no setting {name!r}; it has {', '.join(known)}"
    if attack.preset in entry.presets:
        changes = {name: value for name, value in attack.given.items() if name in known}
        yield from _refused("settings", lambda: entry.create(attack.preset, **changes))


def _threat_problems(attack: GridAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    threat = attack.threat
    if (attack.name in SCORE_BASED) != (threat == "score-based"):
        which = "go with" if attack.name in SCORE_BASED else "are the only ones for"
        yield "threat", f"{threat} given; {', '.join(SCORE_BASED)} {which} score-based"
    elif threat != "oblivious transfer" and entry.surrogate != "classifier":
        yield "threat", f"{threat} needs an attack on classifiers; {attack.name} is none"
    if (threat == "EOT") != (attack.draws > 1):
        yield "draws", f"{attack.draws} given; expected 2 or more with EOT, else 1"
    if attack.bpda and threat != "EOT":
        yield "bpda", "goes with EOT; for one draw the threat BPDA says it"
    if (threat == "surrogate purifier + BPDA") != bool(attack.purifier):
        yield "purifier", "goes with the threat 'surrogate purifier + BPDA', and with no other"


def _surrogate_problems(attack: GridAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    needed = attack.transfers and entry.surrogate == "classifier"
    allowed = needed or entry.surrogate == "features"
    if needed and not attack.surrogate:
        yield "surrogate", "none given; a transfer needs a network that is attacked"
    if attack.surrogate and not allowed:
        yield "surrogate", f"given; {attack.name} with {attack.threat} has none, leave it out"
    if len(attack.surrogate) > 1 and entry.surrogate == "features":
        yield "surrogate", f"{len(attack.surrogate)} given; {attack.name} attacks one network"
    if attack.trained and attack.name not in LOADERS:
        yield "trained", f"given; {attack.name} is not trained, only {' and '.join(LOADERS)} are"
    elif attack.trained:
        yield from _refused("trained", partial(locate, attack.trained))
    if attack.layer and not (entry.surrogate == "features" or "features" in entry.settings):
        yield "layer", f"given; {attack.name} has no such setting, leave it out"


def _refused(key: str, action: Callable[[], object]) -> Iterator[tuple[str, str]]:
    try:
        action()
    except (InputError, TypeError) as error:
        yield key, str(error)
