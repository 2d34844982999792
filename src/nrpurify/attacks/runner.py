"""Runs an attack: groups of a fixed size, and a generator for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from nrpurify.attacks.ascent import value_and_gradient
from nrpurify.attacks.gradient_log import log_gradients, report
from nrpurify.attacks.surrogate import frozen
from nrpurify.core.groups import GroupSize, in_fixed_groups
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.precision import Amp, autocast
from nrpurify.core.random import derive_generator
from nrpurify.models.features import FeatureExtractor

Perturb = Callable[[Tensor, Tensor | None, Sequence[Generator]], Tensor]
"""Maps N×3×H×W images in [0, 1], their N classes (or None) and N generators to attacked images."""


@dataclass(frozen=True)
class AttackRunner:
    """Makes attacked images that depend on the image, the seed and the group's size only.

    Attributes:
        perturb: The attack.
        network: What it works on; anything that is not a module is not tried.
        group: Images that go through the network together; the last group is padded.
        seed: From which each image's generator comes.
        amp: The attack's bf16 autocast.
        before: Called before a group is attacked with the :func:`pixels_hash` of its first image,
            for instance to reseed a random defense inside the network.
    """

    perturb: Perturb
    network: object = None
    group: int = 1
    seed: int = 0
    amp: Amp = False
    before: Callable[[str], None] | None = None
    _size: GroupSize = field(init=False, repr=False)

    def __post_init__(self) -> None:
        outputs = None
        if isinstance(self.network, nn.Module):
            network = self.network

            def outputs(images: Tensor) -> list[Tensor]:
                return answer_and_gradient(network, images, self.amp)

        object.__setattr__(self, "_size", GroupSize(self.group, outputs))

    def __call__(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Attack N×3×H×W images in [0, 1] of one size.

        Args:
            images: Each one's generator comes from the seed and its pixels.
            classes: N labels or targets; None for an attack without.
        """
        sources = [pixels_hash(image) for image in images]
        generators = [derive_generator(self.seed, "attack", source) for source in sources]
        labels: Tensor | Sequence[object] = [None] * len(images) if classes is None else classes
        left = len(images)

        def attack(
            part: Tensor, known: Tensor | list[None], draws: list[Generator], named: list[str]
        ) -> Tensor:
            nonlocal left
            if self.before is not None:
                self.before(named[0])
            with log_gradients() as log:
                found = self.perturb(part, None if classes is None else known, draws)  # type: ignore[arg-type]
            report(log.images[:left])  # without the rows that fill the last group
            left -= len(part)
            return found

        size = self._size.of(images)
        return in_fixed_groups(attack, size, images, labels, generators, sources)


def answer_and_gradient(network: nn.Module, images: Tensor, amp: Amp) -> list[Tensor]:
    """A network's outputs for N×3×H×W images, and the gradient of a weighted sum of each row."""
    weight = next(network.parameters(), images)
    found: list[Tensor] = []

    def objective(point: Tensor) -> Tensor:
        if isinstance(network, FeatureExtractor):  # as SSP asks it
            point = point.contiguous(memory_format=torch.channels_last)
        with autocast(point.device, amp):
            answer = network(point.to(weight.dtype))
        found.extend([answer] if isinstance(answer, Tensor) else answer)
        return torch.stack([_weighted(one) for one in found]).sum(0)

    with frozen(network):
        try:
            _, gradient = value_and_gradient(objective, images)
        except (RuntimeError, ValueError):  # no gradient leads through it
            return [one.detach() for one in found]
    return [*(one.detach() for one in found), gradient]


def _weighted(answer: Tensor) -> Tensor:
    rows = answer.float().flatten(1)
    weights = torch.arange(rows.shape[1], device=rows.device, dtype=torch.float32).cos()
    return (rows * weights).sum(1)
