"""What of a plan can be refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import PurePath
from typing import Any

from nrpurify.attacks import registry
from nrpurify.attacks.registry import AttackEntry
from nrpurify.attacks.runner import typed_settings
from nrpurify.attacks.trained import LOADERS, locate
from nrpurify.core.config import Place, RecipeError, shown
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.core.spec import parse_eps, parse_fraction
from nrpurify.evaluation.metrics import METRICS
from nrpurify.evaluation.plan import OWN_PURIFIER, DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation.tasks import TASKS, Task

Problem = tuple[Place, str]
_OWN = {"targeted", "features", "layer"}
"""What a plan gives by fields of its own, or not at all."""


def check_plan(plan: EvaluationPlan) -> None:
    """Refuse a plan that cannot be run, all its problems at once.

    Raises:
        RecipeError: Unknown tasks, metrics, attacks, presets or settings, data that a task does not
            take, threats that do not go with an attack, numbers out of range, empty or repeated
            entries; each with its place.
    """
    problems = [*_numbers(plan), *_lists(plan), *_alike(plan)]
    task = None
    try:
        task = TASKS.create(plan.task)
    except InputError as error:
        problems.append((("task",), str(error)))
    for index, metric in enumerate(plan.metrics):
        problems += [(("metrics", index), text) for text in _said(partial(METRICS.create, metric))]
    if task is not None:
        problems += _data_problems(plan.data, task, plan.task)
    for index, attack in enumerate(plan.attacks):
        place = ("attacks", index)
        found = [*_attack_problems(attack), *(_task_problems(attack, task) if task else ())]
        problems += [((*place, key), text) for key, text in found]
    if problems:
        raise RecipeError(*problems)


def distance(value: object, norm: object = "linf") -> float:
    """A budget: a number, or a fraction such as ``16/255`` as text.

    Raises:
        InputError: Neither of them, or outside (0, 1]; for ``l2`` not above 0.
    """
    given = f"{shown(value)} given"
    if norm != "l2":
        return parse_eps(str(value), given)
    try:
        length = parse_fraction(str(value))
    except (ValueError, ZeroDivisionError):
        length = 0.0
    if not 0 < length < float("inf"):
        raise InputError(f"{given}; expected an ℓ2 length above 0, such as 3.0")
    return length


def is_score_based(name: object) -> bool:
    """Whether a name is that of an attack that sees scores only, no gradient."""
    return name in registry.names() and registry.get(str(name)).info.needs == "scores"


def _numbers(plan: EvaluationPlan) -> Iterator[Problem]:
    given: tuple[tuple[Place, int | None, int], ...] = (
        (("batch",), plan.batch, 1),
        (("group",), plan.group, 1),
        (("gallery",), plan.gallery, 0),
        (("seed",), plan.seed, 0),
        (("data", "limit"), plan.data.limit, 1),
        (("data", "size"), plan.data.size, 16),
        (("data", "longest"), plan.data.longest, 1),
    )
    for place, value, least in given:
        if value is not None and value < least:
            yield place, f"{value} given; expected at least {least}"


def _lists(plan: EvaluationPlan) -> Iterator[Problem]:
    if not plan.defenses:
        yield ("defenses",), "nothing given; expected at least one"
    named: dict[str, Sequence[Any]] = {
        "victims": plan.victims,
        "defenses": plan.defenses,
        "metrics": plan.metrics,
        "attacks": [replace(attack, label="") for attack in plan.attacks],
    }
    for name, entries in named.items():
        for index, entry in enumerate(entries):
            if entry in entries[:index]:
                yield (name, index), "came before; keep one of them"


def _alike(plan: EvaluationPlan) -> Iterator[Problem]:
    """Attacks that no table tells apart: of one label, or of files of one name."""
    for index, attack in enumerate(plan.attacks):
        for other in plan.attacks[:index]:
            if _row(attack) != _row(other) or not _same_eps(attack, other):
                continue
            if attack.label:
                text = f"{attack.label} came before for the same attack; give each its own label"
                yield ("attacks", index, "label"), text
            for key in ("trained", "attacked"):
                one, two = getattr(attack, key), getattr(other, key)
                if not attack.label and one != two and PurePath(one).name == PurePath(two).name:
                    text = f"{one!r} has the name of {two!r}; give each attack a label"
                    yield ("attacks", index, key), text


def _row(attack: PlannedAttack) -> tuple[object, ...]:
    names = attack.name, attack.threat, attack.label, attack.surrogate, attack.norm
    return *names, attack.steps, attack.draws


def _same_eps(one: PlannedAttack, two: PlannedAttack) -> bool:
    return one.eps == two.eps or bool(set(one.eps) & set(two.eps))


def _data_problems(data: DataSpec, task: Task, name: str) -> Iterator[Problem]:
    plain = DataSpec()
    for field in fields(DataSpec):
        given = getattr(data, field.name) != getattr(plain, field.name)
        if given and field.name not in ("folder", "limit", *task.takes):
            takes = ", ".join(task.takes) or "no labels"
            yield ("data", field.name), f"does not belong to {name}; it takes {takes}"
    for field_name, meaning in task.needs.items():
        if data.folder and not getattr(data, field_name):
            yield ("data", field_name), f"is missing; {name} needs {field_name}: {meaning}"


def _task_problems(attack: PlannedAttack, task: Task) -> Iterator[tuple[str, str]]:
    """What goes only with class labels: attacks on classifiers, and on the victim itself."""
    if task.class_labels or attack.attacked:
        return
    name = task.name
    if attack.threat != "oblivious transfer":
        yield "threat", f"{attack.threat} given; {name} takes oblivious transfer"
    if attack.labels == "random":
        yield "labels", f"random given; {name} has no classes of images to lead toward"
    if attack.name in registry.names() and registry.get(attack.name).surrogate == "classifier":
        free = [n for n in registry.names() if registry.get(n).surrogate != "classifier"]
        text = f"{attack.name} attacks classifiers; other tasks take {', '.join(free)}"
        yield "name", text


def _attack_problems(attack: PlannedAttack) -> Iterator[tuple[str, str]]:
    if attack.attacked:
        yield from _made_before_problems(attack)
        return
    if not attack.name:
        yield "name", "is missing; expected an attack, or a folder under attacked"
        return
    try:
        entry = registry.get(attack.name)
    except InputError as error:
        yield "name", str(error)
        return
    yield from _budget_problems(attack, entry)
    yield from _setting_problems(attack, entry)
    yield from _threat_problems(attack, entry)
    yield from _target_problems(attack, entry)
    yield from _surrogate_problems(attack, entry)


def _made_before_problems(attack: PlannedAttack) -> Iterator[tuple[str, str]]:
    kept = {name: getattr(attack, name) for name in ("name", "attacked", "eps", "label", "norm")}
    for key, value in vars(PlannedAttack(**kept)).items():
        if getattr(attack, key) != value:
            yield key, "does not go with attacked, whose images are made; leave one of them out"
    if len(attack.eps) > 1:
        yield "eps", f"{list(attack.eps)} given; images made before have one budget"
    for value in attack.eps:
        yield from _refused("eps", partial(distance, value, attack.norm))


def _budget_problems(attack: PlannedAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    if not attack.eps or len(set(attack.eps)) < len(attack.eps):
        yield "eps", f"{list(attack.eps)} given; expected one or more different budgets"
    for value in attack.eps:
        yield from _refused("eps", partial(distance, value, attack.norm))
    if attack.norm not in entry.info.norms:
        supported = ", ".join(entry.info.norms)
        yield "norm", f"{attack.norm} given; {attack.name} supports {supported}"
    if attack.step_size is not None:
        yield from _refused("step_size", lambda: distance(attack.step_size, attack.norm))
    if attack.steps is not None and attack.steps < 1:
        yield "steps", f"{attack.steps} given; expected at least 1"


def _setting_problems(attack: PlannedAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    yield from _refused("preset", lambda: entry.defaults(attack.preset))
    known = sorted(set(entry.settings) - _OWN)
    for name in attack.given:
        if name not in known:
            yield (
                name,
                f"no such setting: {attack.name} has no setting {name!r}; "
                f"{near_matches(name, known)}",
            )
    if attack.preset in entry.presets:
        changes = {name: value for name, value in attack.given.items() if name in known}
        yield from _refused(
            "settings", lambda: entry.create(attack.preset, **typed_settings(entry, changes))
        )


def _threat_problems(attack: PlannedAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    threat, scores = attack.threat, entry.info.needs == "scores"
    if scores and threat == "oblivious transfer":
        pass  # made on a surrogate's scores
    elif scores != (threat == "score-based"):
        which = "go with" if scores else "are the only ones for"
        every = ", ".join(filter(is_score_based, registry.names()))
        yield "threat", f"{threat} given; {every} {which} score-based"
    elif threat != "oblivious transfer" and entry.surrogate != "classifier":
        yield "threat", f"{threat} needs an attack on classifiers; {attack.name} is none"
    if (threat == "EOT") != (attack.draws > 1):
        yield "draws", f"{attack.draws} given; expected 2 or more with EOT, else 1"
    if attack.bpda and threat != "EOT":
        yield "bpda", "goes with EOT; for one draw use the threat BPDA"
    if (threat in OWN_PURIFIER) != bool(attack.purifier):
        threats = " and ".join(map(repr, OWN_PURIFIER))
        yield "purifier", f"goes with the threats {threats}, and with no other"


def _target_problems(attack: PlannedAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    if attack.labels == "random" and not entry.info.targeted:
        yield "labels", f"random given; {attack.name} leads toward no class"


def _surrogate_problems(attack: PlannedAttack, entry: AttackEntry) -> Iterator[tuple[str, str]]:
    is_scored = entry.info.needs == "scores"
    needed = attack.transfers and entry.surrogate == "classifier"
    allowed = needed or entry.surrogate == "features"
    if needed and not attack.surrogate:
        text = "none given; a transfer needs a network that is attacked"
        yield "surrogate", text + (", or threat 'score-based'" if is_scored else "")
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
    for text in _said(action):
        yield key, text


def _said(action: Callable[[], object]) -> Iterator[str]:
    try:
        action()
    except (InputError, TypeError) as error:
        yield str(error)
