"""Settings by name: ``paper`` for the paper's own tables, ``authors`` for an attack's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from nrpurify.attacks.box import Eps
from nrpurify.core.errors import InputError

_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "steps": (lambda value: value >= 1, "at least 1"),
    "start_share": (lambda value: 0 < value <= 1, "a value in (0, 1]"),
    "momentum": (lambda value: value >= 0, "0 or more"),
    "diversity": (lambda value: 0 <= value <= 1, "a probability"),
    "smoothing": (lambda value: not value or value % 2 == 1, "0 or an odd number"),
}


def check_settings(plan: object, names: Iterable[str]) -> None:
    """Check settings of an attack by name.

    Raises:
        InputError: One is outside its range.
    """
    for name in names:
        value, (fits, expected) = getattr(plan, name), _RANGES[name]
        if not fits(value):
            raise InputError(f"{name} is {value}; expected {expected}")


@dataclass(frozen=True)
class Plan:
    """What a gradient attack on a classifier does besides its budget and its goal.

    Attributes:
        steps: Number of gradient steps.
        step_size: In units of [0, 1] images; None for eps / steps, see :meth:`length`.
        start: A name in :data:`nrpurify.attacks.starts.STARTS`.
        start_share: Share of eps that a random start may use.
        momentum: Decay of accumulated gradients, 0 for none.
        diversity: Probability of an input-diversity draw for an image and step, 0 for none.
        smoothing: Odd side of the Gaussian filter of the gradient, 0 for none.

    Raises:
        InputError: A value outside its range.
    """

    steps: int = 1
    step_size: Eps | None = None
    start: str = "clean"
    start_share: float = 1.0
    momentum: float = 0.0
    diversity: float = 0.0
    smoothing: int = 0

    def __post_init__(self) -> None:
        check_settings(self, _RANGES)

    def length(self, eps: Eps) -> Eps:
        """The step size in force: a start of random signs has used up its share of ``eps``."""
        if self.step_size is not None:
            return self.step_size
        used = self.start_share if self.start == "sign" else 0.0
        return (1 - used) * eps / self.steps


P = TypeVar("P")


def choose(presets: Mapping[str, P], preset: str, **changes: Any) -> P:
    """The settings of ``preset`` with ``changes``; those that are ``None`` are left out.

    Raises:
        InputError: No such preset, or a change that its settings refuse.
    """
    if preset not in presets:
        raise InputError(f"no preset {preset!r}; expected one of {', '.join(presets)}")
    given = {name: value for name, value in changes.items() if value is not None}
    chosen: P = replace(presets[preset], **given)  # type: ignore[type-var]
    return chosen
