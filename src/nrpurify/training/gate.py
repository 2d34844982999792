"""Training of a purifier's gate, which detects attacked images; no labels are used."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nrpurify.core.errors import DivergenceError
from nrpurify.core.precision import autocast
from nrpurify.core.random import chance, random_integer, seeded
from nrpurify.purifiers.gate import Gate
from nrpurify.training.adversaries import Pair
from nrpurify.training.adversary_config import PerturbationAugment
from nrpurify.training.benign_augment import degrade, retouch
from nrpurify.training.initial import seeded_weights
from nrpurify.training.optim import set_rate
from nrpurify.training.perturbation_augment import augment_perturbations, flip_pair
from nrpurify.training.purifier_recipe import Recipe

WARMUP = 0.1
"""Share of the steps over which the learning rate grows."""
KEPT = 2048
"""Purified crops that are kept for reuse: the purifier costs far more than the gate."""


class GateTrainer:
    """A gate for a finished purifier, and the single step of its training.

    Half of each batch are clean crops, half attacked ones, some of these of kinds that the network
    takes away without help. Each step purifies a batch, and makes several updates on crops of this
    and earlier ones. Given the steps before it, a step depends on the seed and its number alone.

    Args:
        recipe: Its ``gate``, ``variation``, ``eps`` and ``seed`` are used.
        network: The purifier's, trained.
        kept: ``kept(count, strengthen, generator)`` gives cropped pairs of the adversary cache, of
            kinds that are to be strengthened or of those that are not.
        fresh: ``fresh(count, generator)`` gives clean crops of other scales and kernels, of the
            same sides.
        device: Where to train.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        kept: Callable[[int, bool, Generator], Pair],
        fresh: Callable[[int, Generator], Tensor],
        device: torch.device,
    ) -> None:
        self.recipe, self.network, self.kept, self.fresh = recipe, network, kept, fresh
        self.device = device
        with seeded_weights(recipe.seed):
            self.gate = Gate()
        self.gate.features = with_norms(self.gate.features)
        self.gate.to(device)
        self.optimizer = torch.optim.AdamW(self.gate.parameters(), weight_decay=1e-4)
        self._seen: deque[_Crop] = deque(maxlen=KEPT)

    def train(self, after_step: Callable[[int, dict[str, float]], None]) -> Gate:
        """Do all steps, call ``after_step(step, values)`` after each, and return the gate."""
        for step in range(self.recipe.gate.steps):
            after_step(step + 1, self._train_step(step))
        self.gate.eval().requires_grad_(False)
        self.gate.features = without_norms(self.gate.features)
        # The halves of a batch are of equal size. Attacked images that are missed cost more than
        # clean ones that are strengthened, so the log of the costs' ratio is added to the logits.
        self.gate.last.bias.add_(math.log(self.recipe.gate.caution))
        return self.gate

    def _train_step(self, step: int) -> dict[str, float]:
        plan = self.recipe.gate
        generator = seeded(self.recipe.seed, 4, step)
        self._see(*self._batch(generator))
        set_rate(self.optimizer, self._rate(step))
        rows = [self._update(generator) for _ in range(plan.updates)]
        return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}

    def _batch(self, generator: Generator) -> tuple[Pair, Tensor]:
        """Crops, and for the attacked ones whether they are to be strengthened."""
        plan, eps = self.recipe.gate, self.recipe.eps
        known = sum(chance(plan.known, generator) for _ in range(plan.batch))
        parts = []
        for count, strengthen in ((plan.batch - known, True), (known, False)):
            if count:
                pair = flip_pair(self.kept(count, strengthen, generator), generator)
                variation = _varied(self.recipe.variation, strengthen)
                parts.append(augment_perturbations(pair, variation, eps, generator))
        pair = Pair(*(torch.cat(halves) for halves in zip(*parts, strict=True)))
        seen = self.fresh(plan.batch, generator) if chance(plan.fresh, generator) else pair.clean
        clean = retouch(seen, generator)
        pair = Pair(clean, (clean + pair.adversarial - pair.clean).clamp(0, 1))
        wanted = (torch.arange(plan.batch, device="cpu") < plan.batch - known).float()
        return Pair(*(degrade(part, generator) for part in pair)), wanted

    @torch.no_grad()
    def _see(self, pair: Pair, wanted: Tensor) -> None:
        images = torch.cat(pair).to(self.device).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.recipe.optimization.amp):
            purified = self.network(images)
        answers = torch.cat([torch.zeros(len(pair.clean), device="cpu"), wanted])
        # float16 halves the memory of the kept crops; its rounding is finer than 8-bit levels
        crops = zip(images.half().cpu(), purified.half().cpu(), answers, strict=True)
        self._seen.extend(_Crop(*crop) for crop in crops)

    def _update(self, generator: Generator) -> dict[str, float]:
        count = 4 * self.recipe.gate.batch
        chosen = [
            self._seen[random_integer(0, len(self._seen) - 1, generator)] for _ in range(count)
        ]
        images, purified, wanted = (torch.stack(p) for p in zip(*chosen, strict=True))
        pair = flip_pair(Pair(images.float(), purified.float()), generator)
        logits = self.gate.logits(*(part.to(self.device) for part in pair))
        wanted = wanted.to(self.device)
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the gate's loss is {float(loss.detach())}; lower gate.lr (it is "
                f"{self.recipe.gate.lr:g}) and start again in another folder, with this "
                "run's purifier as warm start and steps 0"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return {"loss": float(loss.detach())}

    def _rate(self, step: int) -> float:
        plan = self.recipe.gate
        done = (step + 1) / plan.steps
        return plan.lr * min(done / WARMUP, 0.5 + 0.5 * math.cos(math.pi * done))


class _Crop(NamedTuple):
    """A crop, what the purifier made of it (3×S×S each, float16), and 1 if it gets strength."""

    image: Tensor
    purified: Tensor
    wanted: Tensor


def with_norms(features: nn.Sequential) -> nn.Sequential:
    """The same layers with batch norm behind each convolution: without, training goes nowhere."""
    layers: list[nn.Module] = []
    for layer in features:
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*layers)


def without_norms(features: nn.Sequential) -> nn.Sequential:
    """The same function in eval mode, the norms taken into the convolutions."""
    layers: list[nn.Module] = []
    for layer in features:
        if isinstance(layer, nn.BatchNorm2d):
            convolution = layers.pop()
            assert isinstance(convolution, nn.Conv2d)
            layers.append(fuse_conv_bn_eval(convolution, layer))
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _varied(variation: PerturbationAugment, strengthen: bool) -> PerturbationAugment:
    """The recipe's, without clean crops and noise, which are no attack.

    What is smoothed or brought to ±eps is no longer of the kind that it was.
    """
    kept = replace(variation, clean=0.0, grain=0.0)
    return kept if strengthen else replace(kept, smooth=0.0, sign=0.0)
