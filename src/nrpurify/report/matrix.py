"""The first table: attacks by threat × defenses, each number a mean over victims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrpurify.report.aggregate import (
    Mean,
    grouped,
    mean,
    settings,
    strongest,
    transferred,
    usual_budget,
)
from nrpurify.report.run import Cell, Run
from nrpurify.report.threats import OBLIVIOUS, THREATS, rank
from nrpurify.results.budget import Budget

CONTROLS = ("noise",)
"""Attacks that are none; no mean counts them."""
NO_DEFENSE = "none"


@dataclass(frozen=True)
class Row:
    """One attack, or the mean of several, by defense."""

    label: str
    detail: str
    means: dict[str, Mean]

    @property
    def of(self) -> int:
        """The most victims, or attacks, that one of its numbers is a mean of."""
        return max(found.of for found in self.means.values())

    @property
    def cells(self) -> list[Cell]:
        """What its numbers were made of."""
        return [cell for found in self.means.values() for cell in found.cells]

    @property
    def budget(self) -> Budget | None:
        """The budget of its cells, which is one."""
        return self.cells[0].budget

    @property
    def best(self) -> float:
        """The most that an attack leaves of a defense; -1 where there is one defense only.

        Values under a white-box attack that failed are left out, see :attr:`Mean.misjudged`.
        """
        values = {m.left for d, m in self.means.items() if d != NO_DEFENSE and not m.misjudged}
        return max(values) if len(values) > 1 else -1.0

    def is_best(self, defense: str) -> bool:
        """Whether a defense has the best value of the row."""
        one = self.means.get(defense)
        return bool(one and defense != NO_DEFENSE and not one.misjudged and one.left == self.best)


@dataclass(frozen=True)
class Group:
    """Rows under one threat: its name, and what it means."""

    threat: str
    title: str
    rows: tuple[Row, ...]
    meaning: str = ""


@dataclass(frozen=True)
class Matrix:
    """The table of one (task, metric).

    Attributes:
        kind: Task and metric.
        budget: Of all rows that do not say otherwise; None of clean images only.
        defenses: Columns: no defense, then by what they leave of oblivious attacks.
        groups: Clean images, what oblivious attacks leave on average, each adaptive threat, then
            the oblivious attacks one by one.
        oblivious: The mean over oblivious attacks, or the only one.
    """

    kind: tuple[str, str]
    budget: Budget | None
    defenses: tuple[str, ...]
    groups: tuple[Group, ...]
    oblivious: Row | None

    def least(self, threat: str) -> dict[str, Mean]:
        """The least that attacks of a threat leave, by defense."""
        rows = [row for group in self.groups if group.threat == threat for row in group.rows]
        return {
            defense: min(
                (row.means[defense] for row in rows if defense in row.means),
                key=lambda one: one.left,
            )
            for defense in self.defenses
            if any(defense in row.means for row in rows)
        }


def matrix(run: Run, kind: tuple[str, str]) -> Matrix:
    """Make the table of the cells of one (task, metric)."""
    cells = transferred(cell for cell in run.cells if cell.kind == kind)
    budget = usual_budget(cells)
    threats = grouped(sorted(cells, key=lambda c: rank(c.threat)), lambda c: c.threat)
    everyone = len({cell.victim for cell in cells})
    rows = {threat: _rows(own, budget, everyone) for threat, own in threats.items()}
    oblivious = _oblivious(rows.get(OBLIVIOUS, []), budget)
    return Matrix(kind, budget, _columns(cells, oblivious), _groups(rows, oblivious), oblivious)


def _rows(cells: Sequence[Cell], wish: Budget | None, everyone: int) -> list[Row]:
    """A row for each attack, with what differs from the caption.

    Args:
        cells: Of one threat.
        wish: The caption's budget.
        everyone: How many victims there are.
    """
    rows = []
    for attack, own in grouped(cells, lambda cell: cell.title).items():
        budget = usual_budget(own, wish)
        used = strongest([cell for cell in own if cell.budget == budget])
        by_defense = grouped(used, lambda cell: cell.defense)
        means = {defense: mean(same) for defense, same in by_defense.items()}
        found = {defense: value for defense, value in means.items() if value is not None}
        details = settings(used, eps=budget != wish), _fewer({c.victim for c in used}, everyone)
        if found:
            rows.append(Row(attack, ", ".join(filter(None, details)), found))
    return rows


def _fewer(victims: set[str], everyone: int) -> str:
    if len(victims) == everyone:
        return ""
    return f"on {next(iter(victims))}" if len(victims) == 1 else f"{len(victims)} victims"


def _oblivious(rows: Sequence[Row], wish: Budget | None) -> Row | None:
    """The mean over attacks of one budget: the caption's, or else the most frequent one."""
    known = [row for row in rows if row.label.partition(",")[0] not in CONTROLS]
    budget = usual_budget([cell for row in known for cell in row.cells], wish)
    attacks = [row for row in known if row.budget == budget]
    if len(attacks) < 2:
        return attacks[0] if attacks else None
    defenses = dict.fromkeys(defense for row in attacks for defense in row.means)
    means = {defense: _over_rows(attacks, defense) for defense in defenses}
    below = "each attack below" if len(attacks) == len(known) else "those of one budget below"
    told = "" if budget is None or budget == wish else f"ε {budget.text()}, "
    return Row(f"mean of {len(attacks)} attacks", told + below, means)


def _over_rows(rows: Sequence[Row], defense: str) -> Mean:
    found = [row.means[defense] for row in rows if defense in row.means]
    cells = tuple(cell for one in found for cell in one.cells)
    return Mean(sum(one.value for one in found) / len(found), cells, len(found))


def _columns(cells: Sequence[Cell], oblivious: Row | None) -> tuple[str, ...]:
    def order(defense: str) -> tuple[bool, float, str]:
        found = oblivious.means.get(defense) if oblivious else None
        return defense != NO_DEFENSE, -(found.left if found else -1), defense

    return tuple(sorted({cell.defense for cell in cells}, key=order))


def _groups(rows: dict[str, list[Row]], oblivious: Row | None) -> tuple[Group, ...]:
    groups = []
    for threat, own in rows.items():
        shown = [oblivious] if threat == OBLIVIOUS and oblivious and len(own) > 1 else own
        title, meaning = THREATS.get(threat, (threat, ""))
        groups.append(Group(threat, title, tuple(shown), meaning))
    if len(own := rows.get(OBLIVIOUS, [])) > 1:
        groups.append(Group(OBLIVIOUS, "Oblivious transfer, attack by attack", tuple(own)))
    return tuple(groups)
