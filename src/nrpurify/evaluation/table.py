"""The compact table of a run: attacks × defenses, mean over victims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrpurify.results import variants


def compact_table(run: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Accuracy in percent, mean over the victims; a surrogate's own cell is in no mean.

    Args:
        run: As :func:`nrpurify.evaluation.run_grid` returns it.

    Returns:
        Header, and a row for each attack, its settings, surrogate, eps and threat model.
    """
    defenses = list(dict.fromkeys(cell["defense"] for cell in run["cells"]))
    rows: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for cell, variant in zip(run["cells"], variants(run["cells"]), strict=True):
        row = rows.setdefault(_title(cell, variant), {})
        values = row.setdefault(cell["defense"], [])
        if cell["settings"].get("in_mean", True):
            values.append(cell["value"])
    body = [
        [*title, *(_mean(row.get(name, [])) for name in defenses)] for title, row in rows.items()
    ]
    return ["accuracy, %", "surrogate", "eps", "threat", *defenses], body


def _title(cell: Mapping[str, Any], variant: str) -> tuple[str, ...]:
    eps = "" if cell["eps"] is None else f"{cell['eps'] * 255:g}/255"
    threat = f"EOT × {cell['draws']}" if cell["threat"] == "EOT" else cell["threat"]
    steps = f", {cell['steps']} steps" if (cell["steps"] or 1) > 1 else ""
    name = ", ".join(filter(None, (cell["attack"], variant)))
    return name + steps, cell["surrogate"] or "", eps, threat


def _mean(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}" if values else ""
