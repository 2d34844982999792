"""The training of CDA's generator: one step of it (Naseer et al., 2019)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.box import Box
from nrpurify.attacks.generator import BLOCKS, GeneratorNet
from nrpurify.attacks.objectives import mean_vector
from nrpurify.core.errors import DivergenceError
from nrpurify.models.features import FeatureExtractor, feature_extractor
from nrpurify.training.adversaries import seeded
from nrpurify.training.attack_recipe import CdaRecipe
from nrpurify.training.optim import learning_rate, set_rate, update_average
from nrpurify.training.photos import random_crops


def relativistic_loss(attacked: Tensor, clean: Tensor) -> Tensor:
    """-CE(f(attacked) - f(clean), argmax f(clean)), one value; what is minimized.

    Args:
        attacked: Logits N×classes of the attacked images.
        clean: Those of the clean ones.
    """
    return -F.cross_entropy(attacked - clean, clean.argmax(1))


def pooled_logits(extractor: FeatureExtractor, images: Tensor) -> Tensor:
    """The features at the one layer, averaged over positions: N×channels."""
    (features,) = extractor(images)
    return mean_vector(features)


def clip_through(made: Tensor, box: Box) -> Tensor:
    """``box.project(made)``, with the gradient of no clipping at all (straight through).

    A generator begins far outside of the box, where clipping stops nearly all gradients.
    """
    return made + (box.project(made) - made).detach()


class CdaTrainer:
    """The generator, its average, optimizer and data, and a single step.

    Everything random at a step is a function of the recipe's seed and the step's number, so a run
    that goes on from a checkpoint does what an uninterrupted one does.

    Args:
        recipe: What to do.
        photos: Training photos; no labels are read.
        device: Where to train.

    Raises:
        InputError: No such discriminator or layer.
        WeightsError: The discriminator's weights are not to be had.
    """

    def __init__(self, recipe: CdaRecipe, photos: list[Path], device: torch.device) -> None:
        self.recipe, self.photos, self.device = recipe, photos, device
        torch.manual_seed(recipe.seed)
        self.generator = GeneratorNet(BLOCKS[recipe.size])
        self.generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.discriminator = feature_extractor(recipe.network, recipe.layer).to(device)
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=recipe.lr, betas=recipe.betas
        )
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """Attack one batch of crops and move the generator.

        Raises:
            DivergenceError: The loss is not finite.
        """
        clean = self._batch()
        self.generator.train()
        made = self.generator(clean)
        box = Box.around(clean, self.recipe.eps)
        attacked = clip_through(made, box) if self.recipe.straight else box.project(made)
        with torch.no_grad():
            reference = self._logits(clean)
        loss = relativistic_loss(self._logits(attacked), reference)
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the loss is {float(loss.detach())} at step {self.step}; lower lr (it is "
                f"{self.recipe.lr:g}) and start again in another folder"
            )
        rate = learning_rate(self.step, self.recipe.steps, self.recipe.schedule)
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        update_average(self.average, self.generator, self.recipe.ema, self.step)
        self.step += 1
        return {"loss": float(loss.detach()), "lr": rate}

    def _batch(self) -> Tensor:
        plan, generator = self.recipe, seeded(self.recipe.seed, 0, self.step)
        crops = random_crops(self.photos, plan.batch, plan.crop, plan.resize, generator)
        return crops.to(self.device).contiguous(memory_format=torch.channels_last)

    def _logits(self, images: Tensor) -> Tensor:
        return self.recipe.scale * pooled_logits(self.discriminator, images)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, for :func:`torch.save`."""
        return {
            "step": self.step,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.step = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
