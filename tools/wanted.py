"""The table of docs/results.md with what was wanted of the shipped purifiers, and what they reach.

Kept tables hold accuracies in tenths of a percent. With so few images these decide the number of
right answers, so values over several tables are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import tables

IMAGES = {"first-60": 60, "next-120": 120, "small-budget-180": 180}
PARTS = (["first-60", "next-120"], ["next-120"])
AT_4 = (["first-60", "small-budget-180"], ["small-budget-180"])
FAST = "`fast`"
ENSEMBLE = "SqueezeNet + MobileNet"
TRANSFERS = ["fgsm", "fgsm-ti", "dim", "mi-fgsm", "mi-fgsm-ti", "dim-ti"]
HARD = ["fgsm", "mi-fgsm", "dim", "dim-ti"]


def accuracies(result: str, row: str) -> dict[str, float]:
    """The accuracy in percent behind each defense of a kept table."""
    content = tables.load(result)
    (values,) = [one for one in content["rows"] if one[0] == row]
    return dict(zip((column["name"] for column in content["columns"][1:]), values[1:], strict=True))


def accuracy(results: Sequence[str], row: str, defense: str) -> float:
    """Percent of right answers over the images of several tables."""
    victims = 2 if row.endswith(", Lite0") else 3  # the surrogate is left out
    asked = [victims * IMAGES[result] for result in results]
    right = [
        round(accuracies(result, row)[defense] * n / 100)
        for result, n in zip(results, asked, strict=True)
    ]
    return 100 * sum(right) / sum(asked)


def clean_cost(results: Sequence[str]) -> str:
    return f"{accuracy(results, 'clean', 'none') - accuracy(results, 'clean', FAST):.1f}"


def left(results: Sequence[str], eps: int, defense: str) -> str:
    """Accuracy behind ``fast`` under SSP, of the clean accuracy behind a defense."""
    attacked = accuracy(results, f"ssp {eps}, VGG16", FAST)
    return f"{100 * attacked / accuracy(results, 'clean', defense):.1f} %"


def factor(results: Sequence[str], attacks: Sequence[str], surrogate: str) -> str:
    """Mean success of attacks without and behind ``fast``, and the ratio."""
    rows = [f"{attack} 16, {surrogate}" for attack in attacks]
    bare, behind = (
        100 - sum(accuracy(results, row, defense) for row in rows) / len(rows)
        for defense in ("none", FAST)
    )
    return f"{bare:.1f} → {behind:.1f}: {bare / behind:.2f}"


def margin(results: Sequence[str], row: str) -> str:
    """Points between ``fast`` and the best input transformation."""
    others = set.intersection(*(set(accuracies(result, row)) for result in results))
    best = max(accuracy(results, row, other) for other in others - {"none", FAST})
    return f"{accuracy(results, row, FAST) - best:.1f}"


def ahead(results: Sequence[str]) -> str:
    """Attacks under which ``fast`` is ahead of each transformation that was measured."""
    won: dict[str, bool] = {}
    for result in results:
        for row, *_ in tables.load(result)["rows"][1:]:
            found = accuracies(result, row)
            others = [value for name, value in found.items() if name not in ("none", FAST)]
            won[row] = won.get(row, True) and found[FAST] > max(others)
    return f"{sum(won.values())} of {len(won)}"


def time(name: str) -> str:
    """Time of one image of 224 pixels in fp32, beside ResNet-50's."""
    (sides,) = [
        row["sides"] for row in tables.load("speed")["rows"] if row["case"] == "1 × 224², fp32"
    ]
    return f"{sides[name]['median'] / sides['ResNet-50']['median']:.2f} ×"


def table() -> str:
    """What was wanted, the threshold, and two columns of images."""
    rows = [["clean accuracy lost, points", "at most 4", *map(clean_cost, PARTS)]]
    for defense, of in ((FAST, "purified clean"), ("none", "undefended clean")):
        for eps, wanted in ((8, 90), (16, 80)):
            shares = [left(part, eps, defense) for part in PARTS]
            rows.append([f"SSP {eps}: share of {of} accuracy", f"at least {wanted} %", *shares])
    for attacks, surrogate, wanted_factor in (
        (TRANSFERS, ENSEMBLE, "1.5"),
        (HARD, "Lite0", "1.25"),
    ):
        found = [factor(part, attacks, surrogate) for part in PARTS]
        what = f"success of {len(attacks)} attacks at 16, {surrogate}"
        rows.append([what, f"falls by {wanted_factor} times", *found])
    parts = (["first-60"], ["next-120", "small-budget-180"])
    rows.append(["attacks with `fast` ahead of each transformation", "all", *map(ahead, parts)])
    for row in ("ssp 4, VGG16", f"mi-fgsm 4, {ENSEMBLE}", "mi-fgsm 4, Lite0"):
        points = [margin(part, row) for part in AT_4]
        rows.append([f"{row}: points ahead of the best", "at least 3", *points])
    for name, most in (("fast", "1.5"), ("tiny", "0.5")):
        rows.append([f"time of `{name}`, ResNet-50 = 1", f"at most {most} ×", time(name), ""])
    return tables.markdown(["goal", "wanted", "all images", "without the first 60"], rows)
