"""The result of one attack and one defense as the JSON of ``evaluate`` and ``demo``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrpurify.core.spec import quoted
from nrpurify.evaluation.plan import EvaluationPlan
from nrpurify.results import Result, Run

CONDITIONS = ("clean", "attacked", "purified", "purified_clean")


def is_simple(plan: EvaluationPlan) -> bool:
    """Whether a plan has one attack at one budget, one defense and no metric but accuracy."""
    if plan.task != "classify" or not set(plan.metrics) <= {"accuracy"}:
        return False
    behind = [spec for spec in plan.defenses if spec != "none"]
    budgets = [eps for attack in plan.attacks for eps in attack.eps or (0.0,)]
    return len(behind) == len(budgets) == 1 and "none" in plan.defenses


def summarize(run: Run) -> dict[str, Any]:
    """A run of one attack and one defense as plain values, for JSON.

    Keys: ``n``, ``settings``, ``victims`` (accuracy by condition), ``mean`` (over the victims
    except the surrogate; None if there is no other), ``intervals`` (95 %, Wilson),
    ``conditional_success`` (of the images that were right when clean; None if there are none) and
    ``notes``. Conditions are ``clean``, ``attacked``, ``purified`` and ``purified_clean``.
    """
    cells = [cell for cell in run.cells if cell.metric == "accuracy"]
    rows: dict[str, dict[str, Result]] = {}
    for cell in cells:
        rows.setdefault(cell.victim, {})[_condition(cell)] = cell
    accuracy = {name: _in_order(row, "value") for name, row in rows.items()}
    counted = [
        row
        for row in rows.values()
        if all(cell.settings.get("in_mean", True) for cell in row.values())
    ]
    attacked = next((cell for cell in cells if cell.attack != "clean"), None)
    return {
        "n": run.images.get("n", 0),
        "settings": _settings(run, attacked),
        "victims": accuracy,
        "mean": {
            c: sum(row[c].value for row in counted) / len(counted) if counted else None
            for c in CONDITIONS
        },
        "intervals": {
            name: {condition: list(ends) for condition, ends in _in_order(row, "interval").items()}
            for name, row in rows.items()
        },
        "conditional_success": {
            name: _in_order(row, "conditional_success")
            for name, row in ((n, {c: r[c] for c in CONDITIONS[1:]}) for n, r in rows.items())
        },
        "notes": [warning["text"] for warning in run.warnings],
    }


def _condition(cell: Result) -> str:
    if cell.defense == "none":
        return "clean" if cell.attack == "clean" else "attacked"
    return "purified_clean" if cell.attack == "clean" else "purified"


def _in_order(row: Mapping[str, Result], field: str) -> dict[str, Any]:
    return {name: getattr(row[name], field) for name in CONDITIONS if name in row}


def _settings(run: Run, attacked: Result | None) -> dict[str, Any]:
    plan, purifier = run.settings, ""
    for spec in plan["defenses"]:
        purifier = purifier if spec == "none" else spec
    known: dict[str, Any] = {} if attacked is None else dict(attacked.settings)
    layers = known.get("layers") or []
    behind = next((cell for cell in run.cells if cell.defense == purifier), None)
    return {
        "attack": None if attacked is None else attacked.attack,
        "attack_settings": {
            name: value for attack in plan["attacks"] for name, value in attack["settings"].items()
        },
        "surrogate": None if attacked is None else attacked.surrogate,
        "layer": ",".join(layers) or None,
        "preset": known.get("preset"),
        "eps": None if attacked is None else attacked.eps,
        "norm": None if attacked is None else attacked.norm,
        "steps": None if attacked is None else attacked.steps,
        "step_size": known.get("step_size"),
        "trained": known.get("trained"),
        "victims": list(plan["victims"]),
        "purifier": purifier,
        "purifier_sha256": run.weights_sha256.get(purifier),
        "size": run.images.get("size"),
        "group": plan["group"],
        "seed": run.seed,
        "uint8": plan["rounding"] == "uint8",
        "precision": run.precision,
        "seen_in_training": [] if behind is None else behind.settings["seen_in_training"],
        "weights_sha256": dict(run.weights_sha256),
        **run.versions,
        **({"plugins": list(run.plugins)} if run.plugins else {}),
    }


def purifier_spec(name: str) -> str:
    """A shipped purifier's name, or a file, as a spec."""
    return quoted(str(name))
