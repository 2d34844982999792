"""The arguments of an attack on files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from nrpurify.attacks.constraints import check_norm, per_sample
from nrpurify.attacks.runner import AttackSpec
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp
from nrpurify.core.spec import split_specs

DEFAULT_CLASSIFIER = "efficientnet_lite0"


@dataclass(frozen=True)
class AttackOptions:
    """What decides an attack on files.

    Attributes:
        name: A name in :func:`nrpurify.attacks.names`, or a spec with settings, such as
            ``pgd:steps=40``, see :func:`nrpurify.attacks.spec.read_spec`.
        surrogate: For ssp a name that :func:`nrpurify.models.features.feature_extractor` takes, by
            default vgg16. For attacks on classifiers one that
            :func:`nrpurify.models.load_classifier` takes, by default efficientnet_lite0, or
            several with commas between them: their ensemble.
        layers: Where it is attacked (ssp, tap); empty for the preset's or the network's default.
        eps: Budget in units of [0, 1] images: in (0, 1] for ``linf``, above 0 for ``l2``.
        preset: ``paper`` or ``authors``.
        steps: Iterations; None for the preset's.
        step_size: In units as ``eps``; None for the preset's.
        restarts: Attempts (apgd-ce, apgd-dlr, square); None for the preset's.
        trained: A generator (cda) or pattern (fff) of one's own; None for the shipped one.
        labels: CSV file of true classes, see :func:`nrpurify.data.labels.read_labels_csv`; None
            for what the surrogate says of the clean images.
        targets: CSV file of classes to attack toward, see
            :func:`nrpurify.data.labels.read_targets_csv`.
        batch: Without effect, kept for scripts that give it; ``group`` decides.
        group: Images that a network sees together, where neighbors have the same size; part of the
            result, see :mod:`nrpurify.core.groups`.
        seed: Each image has its own noise, a function of the seed and its pixels.
        device: Where to work.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
        settings: Further settings of the attack; those of a spec in ``name`` are added.
        norm: Of the budget: ``linf`` or ``l2``.

    Raises:
        InputError: No such attack or setting, or a number is out of its range.
    """

    name: str = "ssp"
    surrogate: str | None = None
    layers: tuple[str, ...] = ()
    eps: float = 16 / 255
    preset: str = "paper"
    steps: int | None = None
    step_size: float | None = None
    restarts: int | None = None
    trained: Path | None = None
    labels: Path | None = None
    targets: Path | None = None
    batch: int = 1
    group: int = 1
    seed: int = 0
    device: str = "cpu"
    amp: Amp = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    norm: str = "linf"

    def __post_init__(self) -> None:
        """Read the spec in ``name``, and check numbers."""
        name, settings = read_spec(self.name)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "settings", {**self.settings, **settings})
        check_norm(self.norm)
        per_sample(self.eps, torch.zeros(1), norm=self.norm)
        step = 1.0 if self.step_size is None else self.step_size
        per_sample(step, torch.zeros(1), "step_size", self.norm)
        for name, value in (
            ("batch", self.batch),
            ("group", self.group),
            ("steps", self.steps),
            ("restarts", self.restarts),
        ):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")

    @property
    def given(self) -> dict[str, Any]:
        """The settings that override the preset.

        Raises:
            InputError: One was given twice, in ``settings`` and as a field of its own.
        """
        return merge_settings(
            self.settings, steps=self.steps, step_size=self.step_size, restarts=self.restarts
        )

    @property
    def spec(self) -> AttackSpec:
        """The attack. Files, which other networks may see, get all steps of it.

        Raises:
            InputError: No such attack, or something that it does not have.
        """
        spec = AttackSpec(
            self.name,
            tuple(split_specs(self.surrogate or "")),
            self.layers,
            self.eps,
            self.preset,
            self.given,
            self.trained,
            targeted=self.targets is not None,
            norm=self.norm,
        )
        spec.check()
        whole = {"early_stop": False} if "early_stop" in spec.entry.settings else {}
        own = (DEFAULT_CLASSIFIER,) if spec.entry.surrogate == "classifier" else ()
        return replace(spec, surrogate=spec.surrogate or own, settings={**whole, **spec.settings})
