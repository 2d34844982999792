"""Algorithm 2: self-supervised adversarial training of a purifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.core.errors import DivergenceError, InputError
from nrpurify.core.precision import autocast
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.random import chance, seeded
from nrpurify.purifiers import Card, Gate, Purifier, Strength, build_purifier, save_purifier
from nrpurify.training import losses
from nrpurify.training.adversaries import AdversaryMaker, Crops, Pair
from nrpurify.training.adversary_cache import AdversaryCache, cache_folder
from nrpurify.training.benign_augment import benign_crops
from nrpurify.training.discriminator import Discriminator, PairDiscriminator
from nrpurify.training.distributed import Workers
from nrpurify.training.gate import GateTrainer
from nrpurify.training.initial import seeded_weights
from nrpurify.training.net2net import expand
from nrpurify.training.optim import learning_rate, set_rate, update_average
from nrpurify.training.perturbation_augment import augment_perturbations, crop_pair, flip_pair
from nrpurify.training.photos import Prefetch
from nrpurify.training.purifier_recipe import Recipe
from nrpurify.training.run_folder import writable


class PurifierTrainer:
    """The networks, optimizers and data of one run, and its single step.

    Everything random at a step is a function of the recipe's seed and the step's number, so a run
    that goes on from a checkpoint does what an uninterrupted one does.

    Args:
        recipe: What to do.
        photos: Training photos.
        folder: Where the adversary cache is kept.
        device: Where to train.
        workers: The processes that share the work.
        loader_threads: Threads that read and crop photos ahead where there is no cache.
    """

    def __init__(
        self,
        recipe: Recipe,
        photos: list[Path],
        folder: Path,
        device: torch.device,
        workers: Workers | None = None,
        *,
        loader_threads: int = 0,
    ) -> None:
        self.recipe, self.device = recipe, device
        self.workers = workers or Workers()
        rank = self.workers.rank
        self.maker = AdversaryMaker(recipe, photos, device)
        self.cache = AdversaryCache(self.maker, cache_folder(folder, rank), rank)
        self.discriminator: Discriminator | None = None
        with seeded_weights(recipe.seed):
            self.purifier = build_purifier(recipe.purifier)
            self._check()
            if recipe.losses.adversarial:
                self.discriminator = Discriminator(recipe.crop).to(device)
            self.maker.check()
        network = self.purifier.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.pair_discriminator: PairDiscriminator | None = None
        self.discriminator_optimizer: torch.optim.Adam | None = None
        if self.discriminator is not None:
            joint = recipe.losses.critic_batches == "joint"
            self.pair_discriminator = PairDiscriminator(self.discriminator, joint=joint)
            self.wrapped_discriminator = self.workers.wrap(self.pair_discriminator)
            self.discriminator_optimizer = self._adam(self.discriminator)
        self.network = self.workers.wrap(network)
        self.optimizer = self._adam(network)
        self.feature_loss = losses.FeatureLoss(recipe.losses.features, recipe.losses.diversity)
        self.feature_loss.to(device)
        guide = recipe.losses.guide
        self.guide_loss = losses.GuideLoss(guide).to(device) if guide else None
        self.crops = Prefetch(self._draw, recipe.steps, loader_threads)
        self.gate: Gate | None = None
        self.step = 0

    def _check(self) -> None:
        recipe, multiple = self.recipe, int(self.purifier.network.multiple)  # type: ignore[arg-type]
        multiple *= self.purifier.scale
        if recipe.crop % multiple:
            raise InputError(
                f"crop is {recipe.crop}; {recipe.purifier} takes multiples of {multiple}"
            )
        if self.purifier.scale != 1 and recipe.strength != Strength():
            raise InputError(
                f"strength is {recipe.strength}; {recipe.purifier} enlarges images, so it has no "
                "correction to strengthen: set strength to {coarse: 1, fine: 1}"
            )
        if recipe.gated:
            self._check_gate()
        if recipe.cache.shards and recipe.cache.crop < recipe.crop:
            raise InputError(f"cache.crop is {recipe.cache.crop}; expected at least {recipe.crop}")

    def _check_gate(self) -> None:
        if not self.recipe.cache.shards:
            raise InputError("gate.steps needs the adversary cache: set cache.shards above 0")
        kinds = self.cache.kinds()
        if not any(kind.strengthen for kind in kinds):
            raise InputError(
                f"none of the {len(kinds)} shards in the adversary cache would be of a kind with "
                "strengthen true; expected some for the gate's training: change adversaries, or "
                "raise cache.shards"
            )

    def _adam(self, module: nn.Module) -> torch.optim.Adam:
        settings = self.recipe.optimization
        return torch.optim.Adam(module.parameters(), lr=settings.lr, betas=settings.betas)

    def fill_cache(self, progress: Progress = SILENT) -> None:
        """Make or load the adversaries that the next step may see."""
        wanted = self.cache.count(self.step)
        while len(self.cache) < wanted:
            self.cache.add_shard()
            progress.update("adversaries", len(self.cache), wanted)

    def _batch(self) -> Pair:
        recipe = self.recipe
        if not recipe.cache.shards:
            drawn, generator = self.crops.get(self.step)
            pair, _ = self.maker.make(recipe.batch, recipe.crop, generator, drawn)
            pair = Pair(*(part.cpu() for part in pair))
        else:
            generator = self._generator(self.step)
            self.fill_cache()
            pair = self.cache.draw(recipe.batch, self.step, generator)
            pair = crop_pair(pair, recipe.crop, generator)
        pair = flip_pair(pair, generator) if recipe.variation.flip else pair
        if recipe.joint.share and chance(recipe.joint.share, generator):
            clean = self._place(pair.clean)
            return Pair(clean, self.maker.make_through(self.purifier, clean, generator))
        pair = augment_perturbations(pair, recipe.variation, recipe.eps, generator)
        return Pair(*(self._place(part) for part in pair))

    def _generator(self, step: int) -> Generator:
        return seeded(self.recipe.seed, 2, step, self.workers.rank)

    def _draw(self, step: int) -> tuple[Crops, Generator]:
        """The crops of a step, and the generator with which the step goes on."""
        generator = self._generator(step)
        return self.maker.draw(self.recipe.batch, self.recipe.crop, generator), generator

    def _place(self, images: Tensor) -> Tensor:
        return images.to(self.device).contiguous(memory_format=torch.channels_last)

    def train_step(self) -> dict[str, float]:
        """Do lines 2 to 6 of Algorithm 2 once; return the losses."""
        clean, adversarial = self._batch()
        rate = learning_rate(self.step, self.recipe.steps, self.recipe.optimization)
        values = self._update_purifier(clean, adversarial, rate)
        update_average(self.average, self.purifier.network, self.recipe.optimization.ema, self.step)
        self.step += 1
        return {**values, "lr": rate}

    def _update_purifier(self, clean: Tensor, adversarial: Tensor, rate: float) -> dict[str, float]:
        plan, settings = self.recipe.losses, self.recipe.optimization
        pixel_loss = losses.PIXEL_LOSSES[plan.pixel_norm]
        views = seeded(self.recipe.seed, 3, self.step, self.workers.rank)
        with autocast(self.device, settings.amp):
            # float32, since the losses resize, and bf16 has no kernel for that
            purified = self.network(self._shrink(adversarial)).float()
            crops = {
                "feature": self.feature_loss(purified, clean, self.step, views),
                "pixel": plan.pixel_at(self.step) * pixel_loss(purified, clean),
            }
            if self.guide_loss is not None:
                crops["guide"] = plan.guide_weight * self.guide_loss(purified, clean)
            weights = losses.crop_weights(adversarial - clean, self.recipe.eps, plan.balance)
            parts = {name: (weights * values).mean() for name, values in crops.items()}
            if self.pair_discriminator is not None and self.step >= plan.adversarial_from:
                scores = scores_without_weight_gradients(self.pair_discriminator, purified, clean)
                fooling = losses.purifier_loss(plan.gan, *scores)
                parts["adversarial"] = plan.adversarial * fooling
        total = torch.stack(list(parts.values())).sum()
        norm = self._descend(self.optimizer, total, self.network, rate, settings.clip)
        values = {name: float(part.detach()) for name, part in parts.items()}
        if "adversarial" in parts:
            values["critic"] = self._update_discriminator(purified.detach(), clean, rate)
        return {"loss": float(total.detach()), **values, "gradient_norm": norm}

    def _shrink(self, images: Tensor) -> Tensor:
        """What a network that enlarges is trained on: crops that are as much smaller (bicubic)."""
        scale = self.purifier.scale
        if scale == 1:
            return images
        size = [side // scale for side in images.shape[2:]]
        small = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        return small.clamp(0, 1)

    def _update_discriminator(self, purified: Tensor, clean: Tensor, rate: float) -> float:
        assert self.discriminator_optimizer is not None
        with autocast(self.device, self.recipe.optimization.amp):
            scores = self.wrapped_discriminator(purified, clean)
        loss = losses.discriminator_loss(self.recipe.losses.gan, *scores)
        self._descend(self.discriminator_optimizer, loss, self.wrapped_discriminator, rate, 0.0)
        return float(loss.detach())

    def _descend(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        module: nn.Module,
        rate: float,
        clip: float,
    ) -> float:
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss.detach())}")
        set_rate(optimizer, rate)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = clip or float("inf")
        norm = float(nn.utils.clip_grad_norm_(module.parameters(), limit))
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient's norm is {norm}")
        optimizer.step()
        return norm

    def _diverged(self, what: str) -> DivergenceError:
        settings = self.recipe.optimization
        return DivergenceError(
            f"{what} at step {self.step}, so the weights stay as they were; lower optimization.lr "
            f"(it is {settings.lr:g}) or set optimization.clip (it is {settings.clip:g}), and "
            "start again in another folder"
        )

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, for :func:`torch.save`."""
        parts: dict[str, Any] = {
            "step": self.step,
            "network": self.purifier.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.discriminator is not None and self.discriminator_optimizer is not None:
            parts["critic"] = self.discriminator.state_dict()
            parts["critic_optimizer"] = self.discriminator_optimizer.state_dict()
        return parts

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.step = state["step"]
        self.purifier.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.discriminator is not None and self.discriminator_optimizer is not None:
            self.discriminator.load_state_dict(state["critic"])
            self.discriminator_optimizer.load_state_dict(state["critic_optimizer"])

    def start_from(self, purifier: Purifier) -> None:
        """Begin with the weights of another purifier, of the same design or one that can grow."""
        expand(purifier.network, self.purifier.network)
        self.average.load_state_dict(self.purifier.network.state_dict())

    def train_gate(
        self,
        after_step: Callable[[int, dict[str, float]], None],
        progress: Progress = SILENT,
    ) -> None:
        """Train the gate of the averaged weights.

        Args:
            after_step: Called with each step's number from 1 and its values.
            progress: Sees shards of adversaries.
        """
        recipe = self.recipe
        self.fill_cache(progress)
        if not self.cache.has_known():
            recipe = replace(recipe, gate=replace(recipe.gate, known=0.0))

        def kept(count: int, strengthen: bool, generator: Generator) -> Pair:
            pair = self.cache.draw_kind(count, generator, strengthen=strengthen)
            return crop_pair(pair, recipe.crop, generator)

        def fresh(count: int, generator: Generator) -> Tensor:
            photos = self.maker.photos
            return benign_crops(photos, count, recipe.crop, recipe.gate.resize, generator)

        self.gate = GateTrainer(recipe, self.average, kept, fresh, self.device).train(after_step)

    def averaged(self) -> Purifier:
        """The averaged weights, for images of any size."""
        return self._purifier(self.purifier.card)

    def save(self, path: Path, training: dict[str, Any], metrics: dict[str, float]) -> Card:
        """Write the averaged weights with their card, in float16."""
        card = replace(self.purifier.card, training=training, metrics=dict(metrics))
        with writable(path):
            return save_purifier(self._purifier(card), path, dtype=torch.float16)

    def _purifier(self, card: Card) -> Purifier:
        return Purifier(self.average, card, self.recipe.strength, self.gate)


def scores_without_weight_gradients(
    discriminator: PairDiscriminator, purified: Tensor, clean: Tensor
) -> tuple[Tensor, Tensor]:
    """The two scores; gradients reach the purifier, the discriminator's weights get none."""
    discriminator.requires_grad_(False)
    purified_score, clean_score = discriminator(purified, clean)
    discriminator.requires_grad_(True)
    return purified_score, clean_score
