"""Whether a run ended: a table of an interrupted one would lack results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nrpurify.evaluation.cells import budget_text
from nrpurify.results import RUN_FILE, Run, read_run

MADE_BEFORE = "images made before"


def check_finished(folder: Path) -> None:
    """Refuse the folder of a run that was interrupted.

    Raises:
        ValueError: Results are missing; they are counted by attack.
        InputError: There is no run.
    """
    if (folder / "certify.json").exists():
        return
    if (folder / "certificates.jsonl").exists():
        missing = "certify.json"
    elif (folder / "plan.yaml").exists() and not (folder / RUN_FILE).exists():
        missing = "every result"
    else:
        missing = _missing(read_run(folder))
    if missing:
        raise ValueError(
            f"{str(folder)!r} holds an unfinished run, without {missing}; give the command that "
            "made it again, with --resume, and then add it"
        )


def _missing(run: Run) -> str:
    """The planned results that a run lacks; empty where it lacks none."""
    if "victims" not in run.settings or "paper" in run.settings:  # written once, in the end
        return ""
    values = max(1, len({cell.metric for cell in run.cells}))  # of each unit all are kept at once
    planned: Counter[str] = Counter()
    for title, count in _planned(run.settings):
        planned[title] += count * values
    total = planned.total()
    if len(run.cells) >= total:
        return ""
    for cell in run.cells:
        title = _title(cell.label or cell.attack, cell.eps, cell.norm)
        planned[title if title in planned else MADE_BEFORE] -= 1
    lacking = [f"{count} of {title}" for title, count in planned.items() if count > 0]
    return f"{total - len(run.cells)} of {total} results: {', '.join(lacking)}"


def _planned(plan: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What is measured of a plan, and how many values of one metric that gives."""
    victims, defenses = len(plan["victims"]), plan["defenses"]
    yield "clean", victims * len({"none", *defenses})
    for attack in plan["attacks"]:
        for eps in attack["eps"] or [None]:
            title = _title(attack["label"] or attack["name"], eps, attack["norm"])
            yield MADE_BEFORE if attack["attacked"] else title, victims * len(defenses)


def _title(name: str, eps: float | None, norm: str | None) -> str:
    return name if eps is None else f"{name} {budget_text(eps, norm)}"
