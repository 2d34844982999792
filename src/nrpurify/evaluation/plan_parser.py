"""The one reader of plans, from YAML or plain values, with all errors at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from nrpurify.core.config import Gathered, Marks, Place, RecipeError, find_recipe, read_yaml, shown
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.evaluation.networks import name_problems
from nrpurify.evaluation.plan import EvaluationPlan, PlannedAttack
from nrpurify.evaluation.plan_checks import check_plan, distance, is_score_based

Problems = list[tuple[Place, str]]
_ATTACK_FIELDS = frozenset(one.name for one in fields(PlannedAttack))


def shipped_plans() -> dict[str, Path]:
    """The plans that the package carries, by name."""
    folder = Path(str(resources.files("nrpurify.evaluation"))) / "plans"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_plan(source: str | Path) -> tuple[EvaluationPlan, Marks]:
    """Read a shipped plan by name, or a YAML file, and the lines of its settings.

    Raises:
        InputError: No such plan, or one that cannot be used; lines are named.
        MissingExtraError: PyYAML or pydantic is not installed.
    """
    path = find_recipe(source, shipped_plans(), "plan")
    values, marks = read_yaml(path)
    renamed = {("data", *place[1:]): n for place, n in marks.lines.items() if place[0] == "images"}
    marks = Marks(marks.path, {**renamed, **marks.lines})
    with marks.naming_lines():
        return plan_from_dict({"name": path.stem, **values}), marks


def plan_from_dict(values: Mapping[str, Any]) -> EvaluationPlan:
    """Build a plan from plain values; one value may stand for a list of one.

    The key ``images`` of 0.1.0 is read as ``data``. In an attack, keys that are no fields of
    :class:`PlannedAttack` are settings of the attack.

    Raises:
        RecipeError: Unknown keys or values of the wrong kind, each with its place, and whatever
            else is wrong with the rest.
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingExtraError("pydantic", "train") from error
    problems: Problems = []
    plain = _plain(values, problems)
    try:
        plan = TypeAdapter(EvaluationPlan).validate_python(plain)
    except ValidationError as error:
        problems += [(found["loc"], _reason(found)) for found in error.errors()]
    if problems:
        raise RecipeError(*problems, *_other_problems(plain, [place for place, _ in problems]))
    return plan


def _other_problems(plain: dict[str, Any], places: list[Place]) -> Problems:
    """What else is wrong with a plan, apart from settings and attacks at these ``places``."""
    from pydantic import TypeAdapter, ValidationError

    if not all(places):
        return []
    top = {place[0] for place in places if place[:1] != ("attacks",)}
    spoiled = {place[1] for place in places if place[:1] == ("attacks",) and len(place) > 1}
    rest: dict[str, Any] = {"attacks": [], "victims": ["any"]}
    rest |= {name: value for name, value in plain.items() if name not in top}
    stand_in = {"name": "noise"}
    if isinstance(rest["attacks"], list):
        rest["attacks"] = [
            stand_in if index in spoiled else attack for index, attack in enumerate(rest["attacks"])
        ]
    gathered = Gathered()
    try:
        plan = TypeAdapter(EvaluationPlan).validate_python(rest)
    except ValidationError:
        return []
    with gathered.at():
        check_plan(plan)
    gathered.problems += name_problems(plan)
    return [
        (place, text)
        for place, text in gathered.problems
        if place[0] in plain
        and place[0] not in top
        and not (place[0] == "attacks" and place[1] in spoiled)
    ]


def _reason(error: Any) -> str:
    if error["type"] == "unexpected_keyword_argument":
        return "no such setting; see the plan reference in docs/evaluation.md"
    if error["type"] in ("missing", "missing_argument"):
        return "is missing"
    return f"{shown(error['input'])} given; {error['msg'][0].lower()}{error['msg'][1:]}"


def _plain(values: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Lists for single values, numbers for fractions, and the threat of score-based attacks."""
    plain = _listed(values, "defenses", "victims", "metrics", "plugins")
    if "images" in plain:
        if "data" in plain:
            problems.append((("images",), "is the old name of data; keep one of them"))
        plain.setdefault("data", plain.pop("images"))
    attacks = values.get("attacks")
    if isinstance(attacks, list | tuple):
        plain["attacks"] = [
            _plain_attack(attack, ("attacks", index), problems)
            for index, attack in enumerate(attacks)
        ]
    return plain


def _plain_attack(attack: Any, place: Place, problems: Problems) -> Any:
    if not isinstance(attack, dict):
        return attack
    plain = _listed(_with_settings(attack, place, problems), "eps", "surrogate", "layer")
    if is_score_based(plain.get("name")):
        plain.setdefault("threat", "score-based")
    if plain.get("attacked"):
        plain.setdefault("eps", [])
    norm = plain.get("norm")
    if "eps" in plain:
        plain["eps"] = [
            _distance(value, norm, (*place, "eps", index), problems)
            for index, value in enumerate(plain["eps"])
        ]
    if plain.get("step_size") is not None:
        plain["step_size"] = _distance(plain["step_size"], norm, (*place, "step_size"), problems)
    return plain


def _with_settings(attack: dict[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    """The attack with the settings that stand beside its name under ``settings``."""
    beside = {key: attack[key] for key in attack if key not in _ATTACK_FIELDS}
    settings = attack.get("settings", {})
    if not beside or not isinstance(settings, dict):
        return attack
    problems += [
        ((*place, key), "is given twice, here and under settings; keep one of them")
        for key in beside
        if key in settings
    ]
    own = {key: value for key, value in attack.items() if key not in beside}
    return {**own, "settings": {**settings, **{str(key): one for key, one in beside.items()}}}


def _distance(value: object, norm: object, place: Place, problems: Problems) -> float:
    try:
        return distance(value, norm)
    except InputError as error:
        problems.append((place, str(error)))
        return 1.0


def _listed(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: [value] if name in names and not isinstance(value, list | tuple) else value
        for name, value in values.items()
    }
