"""One sentence that the numbers say, the adaptive attack included."""

from __future__ import annotations

from typing import NamedTuple

from nrpurify.report.aggregate import Mean, is_success
from nrpurify.report.environment import percent
from nrpurify.report.matrix import NO_DEFENSE, Matrix, Row
from nrpurify.report.threats import CLEAN, EOT, FULL, OBLIVIOUS


class _Words(NamedTuple):
    """How a sentence compares defenses: by what attacks leave, or by how often they succeed."""

    keeps: str
    keep: str
    most: str
    bare: str
    leaves: str
    leave: str
    less: str
    bound: str


_LEFT = _Words(
    "keeps", "keep", "the most", "no defense leaves", "leaves", "leave", "leave less", "an upper"
)
_REACHED = _Words(
    "has", "have", "the least", "none at all has", "reaches", "reach", "reach more", "a lower"
)


def _words(matrix: Matrix) -> _Words:
    return _REACHED if is_success(matrix.kind[1]) else _LEFT


def sentence(matrix: Matrix) -> str:
    """Which defense holds best against oblivious attacks, and what full gradient leaves of it."""
    metric, words = matrix.kind[1], _words(matrix)
    row = matrix.oblivious
    complete = _complete(row) if row else {}
    if set(matrix.defenses) <= {NO_DEFENSE}:
        return _undefended(matrix)
    if row is None or not complete:
        return f"No defense was measured against oblivious attacks. {_worst(matrix)}".strip()
    best = max(complete, key=lambda defense: complete[defense].left)
    tied = [defense for defense in complete if complete[defense].left == complete[best].left]
    bare = row.means.get(NO_DEFENSE)
    left = "" if bare is None else f", where {words.bare} {percent(bare.value)}"
    several = len(tied) > 1
    names = f"{', '.join(tied[:-1])} and {tied[-1]}" if several else best
    keep = f"{names} {words.keep if several else words.keeps}"
    verdict = f"{keep} {words.most} {metric}, {percent(complete[best].value)}{left}"
    if bare is not None and complete[best].left <= bare.left:
        have = f"{'have' if several else 'has'} {percent(complete[best].value)}"
        verdict = f"no defense helps: the best, {names}, {have} " + (
            f"{metric} where none at all has {percent(bare.value)}"
        )
    return f"Against oblivious attacks ({_what(row)}) {verdict}{_adaptive(matrix, best)}"


def _complete(row: Row) -> dict[str, Mean]:
    """Defenses judged on everything that the row has; the others would be compared unfairly."""
    return {d: m for d, m in row.means.items() if d != NO_DEFENSE and m.of == row.of}


def _what(row: Row) -> str:
    eps = "" if row.budget is None else f", ε = {row.budget.text()}"
    return f"{row.label}{eps}"


def _adaptive(matrix: Matrix, defense: str) -> str:
    words = _words(matrix)
    left, averaged = (matrix.least(threat).get(defense) for threat in (FULL, EOT))
    if left is None:
        return (
            ". No full-gradient attack on it was measured, so an attacker who knows the defense "
            f"may {words.less}."
        )
    random = "" if averaged is None else f" (EOT: {_left(averaged, words)})"
    return f"; an attack with its full gradient {words.leaves} {_left(left, words)}{random}."


def _left(one: Mean, words: _Words) -> str:
    """What an attack leaves; of one that failed no more than a bound is known."""
    if one.misjudged:
        return (
            f"{percent(one.value)}, {words.bound} bound only: the attack failed, see the warnings"
        )
    return percent(one.value)


def _worst(matrix: Matrix) -> str:
    words = _words(matrix)
    found = {d: one for d, one in matrix.least(FULL).items() if d != NO_DEFENSE}
    left = {d: one for d, one in found.items() if not one.misjudged}
    if not left:
        return f"Every {FULL} attack failed, see the warnings." if found else ""
    best = max(left, key=lambda defense: left[defense].left)
    kept = f"{best} {words.keeps} {words.most} {matrix.kind[1]}, {percent(left[best].value)}"
    return f"Of {FULL} attacks {kept}."


def _undefended(matrix: Matrix) -> str:
    """What attacks leave of a run that is about attacks alone."""
    metric, words = matrix.kind[1], _words(matrix)
    rows = {g.threat: [r for r in g.rows if NO_DEFENSE in r.means] for g in matrix.groups}
    clean = next(iter(rows.get(CLEAN, [])), None)
    before = "" if clean is None else f" where clean images have {_bare(clean)}"
    row = matrix.oblivious
    if row is None or NO_DEFENSE not in row.means:
        found = "" if clean is None else f": {metric} on clean images is {_bare(clean)}"
        return f"No defense was measured{found}."
    told = f"Oblivious attacks ({_what(row)}) {words.leave} {_bare(row)} {metric}{before}"
    attacks = [r for r in rows.get(OBLIVIOUS, []) if r is not row and r.budget == row.budget]
    if len(attacks) < 2:
        return f"{told}."
    worst = min(attacks, key=lambda r: r.means[NO_DEFENSE].left)
    if worst.means[NO_DEFENSE].value == row.means[NO_DEFENSE].value:
        return f"{told}."
    return f"{told}; the strongest attack, {worst.label}, {words.leaves} {_bare(worst)}."


def _bare(row: Row) -> str:
    return percent(row.means[NO_DEFENSE].value)
