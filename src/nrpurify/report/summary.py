"""One sentence that the numbers say, the adaptive attack included."""

from __future__ import annotations

from nrpurify.report.choose import Mean
from nrpurify.report.environment import eps_text, percent
from nrpurify.report.matrix import NO_DEFENSE, Matrix, Row
from nrpurify.report.threats import EOT, FULL


def sentence(matrix: Matrix) -> str:
    """Which defense holds best against oblivious attacks, and what full gradient leaves of it."""
    metric = matrix.kind[1]
    row = matrix.oblivious
    complete = _complete(row) if row else {}
    if row is None or not complete:
        return f"No defense was measured against oblivious attacks. {_worst(matrix)}".strip()
    best = max(complete, key=lambda defense: complete[defense].value)
    bare = row.means.get(NO_DEFENSE)
    left = "" if bare is None else f", where no defense leaves {percent(bare.value)}"
    verdict = f"{best} keeps the most {metric}, {percent(complete[best].value)}{left}"
    if bare is not None and complete[best].value <= bare.value:
        verdict = f"no defense helps: the best, {best}, has {percent(complete[best].value)} " + (
            f"{metric} where none at all has {percent(bare.value)}"
        )
    return f"Against oblivious attacks ({_what(row)}) {verdict}{_adaptive(matrix, best)}"


def _complete(row: Row) -> dict[str, Mean]:
    """Defenses judged on everything that the row has; the others would be compared unfairly."""
    return {d: m for d, m in row.means.items() if d != NO_DEFENSE and m.of == row.of}


def _what(row: Row) -> str:
    eps = "" if row.eps is None else f", ε = {eps_text(row.eps)}"
    return f"{row.label}{eps}"


def _adaptive(matrix: Matrix, defense: str) -> str:
    left, averaged = (matrix.least(threat).get(defense) for threat in (FULL, EOT))
    if left is None:
        return (
            ". No full-gradient attack on it was measured: this says nothing of an attacker who "
            "knows the defense."
        )
    random = "" if averaged is None else f" (EOT: {percent(averaged)})"
    return f"; an attack with its full gradient leaves {percent(left)}{random}."


def _worst(matrix: Matrix) -> str:
    left = {d: v for d, v in matrix.least(FULL).items() if d != NO_DEFENSE}
    if not left:
        return ""
    best = max(left, key=lambda defense: left[defense])
    return f"Of {FULL} attacks {best} keeps the most {matrix.kind[1]}, {percent(left[best])}."
