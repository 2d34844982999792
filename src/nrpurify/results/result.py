"""One measured number with all that decided it, and a run of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

SCHEMA = 2
"""Of ``run.json``. Schema 1, of nrpurify 0.1.0, has no ``label``, ``norm`` and ``precision``."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes:
        value: In [0, 1]; a difference is in [-1, 1].
        low: Lower end.
        high: Upper end.
        n: Number of images.
    """

    value: float
    low: float
    high: float
    n: int


class _Record(Mapping[str, Any]):
    """Fields are also readable by key, since 0.1.0 had dictionaries in their place."""

    def __getitem__(self, key: str) -> Any:
        """The field of that name."""
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a field of that name."""
        return any(key == name for name in self)

    def __iter__(self) -> Iterator[str]:
        """The names of the fields."""
        return (one.name for one in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        """The number of fields."""
        return len(fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Result(_Record):
    """One measured number and how it came about.

    Attributes:
        id: Unique in a run, see :func:`nrpurify.results.result_id`.
        attack: ``clean`` or the attack's name.
        threat: What the attacker knows.
        defense: A spec such as ``jpeg:quality=75+fast``; ``none`` for no defense.
        victim: The model whose answers are counted.
        value: In [0, 1].
        task: ``classify``, ``detect``, ``instances``, ``segment``, or a plug-in's.
        metric: ``accuracy``, ``mAP50``, ``pixel accuracy`` ...
        label: The plan's own name of the attack; empty when it gives none.
        surrogate: What the attack was made on; several with commas between.
        eps: Budget in units of [0, 1]; None when clean.
        norm: Of the budget; None when clean.
        steps: Iterations.
        draws: Passes of EOT or of a vote.
        interval: 95 % interval of the value, (low, high).
        n: Number of images.
        success: 1 - value where that is the attack's success rate.
        conditional_success: The same among images that were right when clean.
        rounding: Of attacked images: ``float`` or ``uint8``.
        precision: Arithmetic, ``fp32`` or ``bf16``.
        seconds: Duration.
        peak_memory_mb: Peak memory.
        seed: Start of everything random.
        settings: Further ones, and facts about the defense, as plain values.
        notes: Remarks.
    """

    id: str
    attack: str
    threat: str
    defense: str
    victim: str
    value: float
    task: str = "classify"
    metric: str = "accuracy"
    label: str = ""
    surrogate: str | None = None
    eps: float | None = None
    norm: str | None = None
    steps: int | None = None
    draws: int = 1
    interval: Sequence[float] | None = None
    n: int | None = None
    success: float | None = None
    conditional_success: float | None = None
    rounding: str = "float"
    precision: str | None = None
    seconds: float | None = None
    peak_memory_mb: float | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Make measured results and those that were read equal."""
        object.__setattr__(self, "notes", tuple(self.notes))
        if self.interval is not None:
            object.__setattr__(self, "interval", tuple(self.interval))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {key: _plain(value) for key, value in self.items()}


@dataclass(frozen=True)
class Run(_Record):
    """Results of one run, as ``run.json`` holds them.

    Attributes:
        cells: The results.
        name: Of the plan or experiment.
        title: For people.
        created: ISO 8601, UTC.
        images: ``folder``, ``n``, ``size``, ``rule``; ``broken`` names unreadable files.
        settings: The plan, as plain values.
        versions: Of nrpurify, torch and Python.
        weights_sha256: By name of network, defense or trained attack.
        seed: Start of everything random.
        precision: Arithmetic, ``fp32`` or ``bf16``.
        warnings: ``kind``, ``text`` and the ids of the ``cells`` of each.
        strips: Pictures: ``name``, ``label`` and ``panels`` of each.
        left_out: Names of what is in no number, by kind.
        paper: The paper's numbers: ``where``, ``row``, ``column``, ``value`` and so on.
        plugins: Name, version and hash of each plug-in in use.
    """

    cells: tuple[Result, ...] = ()
    name: str = ""
    title: str = ""
    created: str = ""
    images: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    precision: str | None = None
    warnings: Sequence[Mapping[str, Any]] = ()
    strips: Sequence[Mapping[str, Any]] = ()
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    paper: Sequence[Mapping[str, Any]] = ()
    plugins: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        """Make measured runs and those that were read equal."""
        for key in ("cells", "warnings", "strips", "paper", "plugins"):
            object.__setattr__(self, key, tuple(getattr(self, key)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``schema`` first, the cells last, without optional parts that are empty."""
        kept = {key: value for key, value in self.items() if value or key not in _OPTIONAL}
        cells = kept.pop("cells")
        plain = {key: _plain(value) for key, value in kept.items()}
        return {"schema": SCHEMA, **plain, "cells": [cell.to_dict() for cell in cells]}


_OPTIONAL = ("precision", "left_out", "paper", "plugins")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
