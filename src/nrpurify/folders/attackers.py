"""Attacks by name, made ready for files: what they do to a batch, and what to write down."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from nrpurify import features
from nrpurify.attacks.box import Eps, per_sample
from nrpurify.attacks.ssp import settings, ssp
from nrpurify.attacks.starts import resolve_start
from nrpurify.errors import InputError
from nrpurify.precision import Amp


@dataclass(frozen=True)
class AttackOptions:
    """What decides an attack on files.

    Attributes:
        name: A name in :data:`ATTACKS`.
        surrogate: A name that :func:`nrpurify.features.feature_extractor` takes.
        layers: Where it is attacked; empty for the preset's or the network's default.
        eps: L∞ budget in (0, 1].
        preset: ``paper`` or ``authors``.
        steps: Iterations; None for the preset's.
        step_size: In (0, 1]; None for the preset's.
        batch: Images at a time, where neighbors have the same size.
        seed: Each image has its own noise, a function of the seed and its relative path.
        device: Where to work.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.

    Raises:
        InputError: A number is out of its range.
    """

    name: str = "ssp"
    surrogate: str = "vgg16"
    layers: tuple[str, ...] = ()
    eps: float = 16 / 255
    preset: str = "paper"
    steps: int | None = None
    step_size: float | None = None
    batch: int = 1
    seed: int = 0
    device: str = "cpu"
    amp: Amp = "auto"

    def __post_init__(self) -> None:
        per_sample(self.eps, torch.zeros(1))
        per_sample(1.0 if self.step_size is None else self.step_size, torch.zeros(1), "step_size")
        for name, value in (("batch", self.batch), ("steps", self.steps)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")


@dataclass(frozen=True)
class Attacker:
    """An attack ready to run.

    Attributes:
        perturb: Maps N×3×H×W images in [0, 1] and N generators, one an image, to attacked images.
        settings: All that decides the result, with defaults filled in.
        weights: Names of the weights in use.
    """

    perturb: Callable[[Tensor, Sequence[Generator]], Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


def _prepare_ssp(options: AttackOptions) -> Attacker:
    plan = settings(options.preset, steps=options.steps, step_size=options.step_size)
    default = (plan.layer,) if options.surrogate.endswith("vgg16") else None
    extractor = features.feature_extractor(options.surrogate, options.layers or default)
    extractor = extractor.to(options.device)

    def perturb(images: Tensor, generators: Sequence[Generator]) -> Tensor:
        def start(batch: Tensor, eps: Eps, _: Generator | None) -> Tensor:
            draw = resolve_start(plan.start)
            pairs = zip(torch.split(batch, 1), generators, strict=True)
            return torch.cat([draw(image, eps, generator) for image, generator in pairs])

        return ssp(
            extractor,
            images,
            eps=options.eps,
            preset=options.preset,
            steps=plan.steps,
            step_size=plan.step_size,
            start=start,
            amp=options.amp,
        )

    chosen = {
        "layers": list(extractor.layers),
        "steps": plan.steps,
        "step_size": plan.step_size,
        "distance": plan.distance,
        "start": str(plan.start),
    }
    return Attacker(perturb, chosen, (options.surrogate,))


ATTACKS: dict[str, Callable[[AttackOptions], Attacker]] = {"ssp": _prepare_ssp}
"""Attacks that work on files, by name."""


def prepare_attack(options: AttackOptions) -> Attacker:
    """Load what an attack needs.

    Raises:
        InputError: No such attack (near matches are named), surrogate, layer or preset.
        WeightsError: The surrogate's weights are not to be had.
    """
    if options.name not in ATTACKS:
        near = difflib.get_close_matches(options.name, ATTACKS, cutoff=0.4) or list(ATTACKS)
        raise InputError(f"no attack {options.name!r}; did you mean {', '.join(near)}?")
    return ATTACKS[options.name](options)
