"""Ranges of the numbers in recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nrpurify.core.config import RecipeError
from nrpurify.core.spec import hint_of_255


@dataclass(frozen=True)
class Range:
    """What a setting may be.

    Attributes:
        expected: In words.
        holds: Whether a value may be.
        hint: What else to tell about one that may not.
    """

    expected: str
    holds: Callable[[Any], bool]
    hint: Callable[[Any], str] = lambda value: ""


def at_least(least: float) -> Range:
    """Finite and no less."""
    return Range(f"at least {least}", lambda value: least <= value < math.inf)


POSITIVE = Range("a number above 0", lambda value: 0 < value < math.inf)
SHARE = Range("a share from 0 to 1", lambda value: 0 <= value <= 1)
DECAY = Range("a number from 0 to below 1", lambda value: 0 <= value < 1)
BUDGET = Range("a value in (0, 1], such as 16/255", lambda value: 0 < value <= 1, hint_of_255)
SEED = Range(
    "a whole number from -2^63 to 2^64 - 1", lambda value: -(2**63) <= value < 2**64
)  # as torch's generators take
SOME = Range("at least one", lambda values: len(values) > 0)


def optional(rule: Range) -> Range:
    """Such a value, or None."""
    return Range(rule.expected, lambda value: value is None or rule.holds(value))


def weights(read: Callable[[Any], Collection[float]]) -> Range:
    """What holds weights, which ``read`` takes out."""
    return Range(
        "weights of at least 0, one of them above",
        lambda holder: all(0 <= v < math.inf for v in read(holder)) and sum(read(holder)) > 0,
    )


def each(rule: Range) -> Range:
    """A list that is not empty, of such values."""
    return Range(
        f"a list; each {rule.expected}",
        lambda values: len(values) > 0 and all(map(rule.holds, values)),
        lambda values: next(filter(None, map(rule.hint, values)), ""),
    )


def least_and_greatest(rule: Range) -> Range:
    """Two such values, the second no less than the first."""
    return Range(
        f"least and greatest, each {rule.expected}",
        lambda pair: all(map(rule.holds, pair)) and pair[0] <= pair[1],
    )


def one_of(names: Sequence[str]) -> Range:
    """A list of known names that is not empty."""
    return Range(
        f"some of {', '.join(names)}",
        lambda values: len(values) > 0 and all(v in names for v in values),
    )


CROPS: dict[str, Range] = {
    "steps": at_least(1),
    "batch": at_least(1),
    "crop": at_least(1),
    "resize": least_and_greatest(at_least(1)),
    "eps": BUDGET,
    "holdout": DECAY,
    "checkpoint_every": at_least(1),
    "seed": SEED,
}
"""What all trainings on crops of photos have."""


def check(recipe: object, **rules: Range) -> None:
    """Hold the settings of ``recipe`` against their ranges.

    Raises:
        RecipeError: Settings out of their range; all are named.
    """
    problems = []
    for name, rule in rules.items():
        value = getattr(recipe, name)
        if not rule.holds(value):
            text = f"is {value}; expected {rule.expected}{rule.hint(value)}"
            problems.append(((name,), text))
    if problems:
        raise RecipeError(*problems)
