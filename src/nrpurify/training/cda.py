"""Training of CDA's generator of adversarial images (Naseer et al., 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.cda import cda
from nrpurify.attacks.constraints import LinfBall
from nrpurify.attacks.feature_losses import mean_vector
from nrpurify.attacks.generator import BLOCKS, GeneratorNet
from nrpurify.attacks.trained import GENERATOR, save_generator
from nrpurify.core.errors import DivergenceError
from nrpurify.core.model_card import Card
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.random import seeded
from nrpurify.core.ranges import BUDGET, CROPS, DECAY, POSITIVE, at_least, check, each, optional
from nrpurify.models import load_classifier
from nrpurify.models.features import FeatureExtractor, feature_extractor
from nrpurify.training.initial import seeded_weights
from nrpurify.training.optim import Optimization, learning_rate, set_rate, update_average
from nrpurify.training.photos import center_crops, random_crops, split_photos
from nrpurify.training.recipe import TrainingRecipe
from nrpurify.training.run import Measurement, TrainingRun
from nrpurify.training.run_folder import writable


@dataclass(frozen=True)
class AttackValidation:
    """What is measured on held-out photos: how often a victim's answer is that to the clean one.

    Attributes:
        every: Steps between validations.
        photos: How many held-out photos, at most; 0 for no validation.
        side: Side of their central crops.
        victim: A classifier that :func:`nrpurify.models.load_classifier` takes.
        eps: Budgets.
    """

    every: int = 500
    photos: int = 32
    side: int = 224
    victim: str = "efficientnet_lite0"
    eps: tuple[float, ...] = (8 / 255, 16 / 255)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(self, every=at_least(1), photos=at_least(0), side=at_least(1), eps=each(BUDGET))


@dataclass(frozen=True)
class CdaRecipe(TrainingRecipe):
    """A training run of CDA; the defaults are the authors', with a network that can be had.

    Attributes:
        size: ``large`` or ``small``, see :data:`nrpurify.attacks.generator.BLOCKS`.
        network: The discriminator, a name that :func:`nrpurify.models.features.feature_extractor`
            takes.
        layer: Its layer. The mean over positions are the logits, or what stands for them.
        scale: Factor of these logits.
        steps: Number of updates.
        batch: Crops a step.
        crop: Side of the crops.
        resize: Least and greatest length of a photo's short side before cropping.
        eps: Budget in training, in (0, 1]; the generator serves any other.
        straight: Whether gradients pass the clipping to the box as if it were not there; if not, it
            stops them where it clips, as the authors' does.
        lr: Learning rate of Adam.
        warmup: Steps over which it grows from zero.
        final_lr: Last learning rate, half a cosine down; None for ``lr`` to the end.
        betas: Of Adam.
        ema: Decay of the averaged weights that are validated and saved; 0 for the last ones.
        holdout: Share of the photos kept for validation.
        seed: Of everything random.
        checkpoint_every: Steps between resumable checkpoints.
        validation: What is measured.

    Raises:
        InputError: A number out of its range.
    """

    size: Literal["large", "small"] = "large"
    network: str = "torchvision:vgg16"
    layer: str = "network.classifier.6"
    scale: float = 1.0
    steps: int = 80_000
    batch: int = 15
    crop: int = 224
    resize: tuple[int, int] = (300, 300)
    eps: float = 10 / 255
    straight: bool = False
    lr: float = 2e-4
    warmup: int = 0
    final_lr: float | None = None
    betas: tuple[float, float] = (0.5, 0.999)
    ema: float = 0.0
    holdout: float = 0.02
    seed: int = 0
    checkpoint_every: int = 100
    validation: AttackValidation = AttackValidation()
    folder: ClassVar[str] = "cda"

    def __post_init__(self) -> None:
        check(
            self,
            scale=POSITIVE,
            lr=POSITIVE,
            warmup=at_least(0),
            final_lr=optional(at_least(0)),
            betas=each(DECAY),
            ema=DECAY,
            **CROPS,
        )

    @property
    def schedule(self) -> Optimization:
        """How the learning rate moves."""
        last = self.lr if self.final_lr is None else self.final_lr
        return Optimization(lr=self.lr, warmup=self.warmup, schedule="cosine", final_lr=last)


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


def clip_through(made: Tensor, box: LinfBall) -> Tensor:
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
        WeightsError: The discriminator's weights could not be found or downloaded.
    """

    def __init__(self, recipe: CdaRecipe, photos: list[Path], device: torch.device) -> None:
        self.recipe, self.photos, self.device = recipe, photos, device
        with seeded_weights(recipe.seed):
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
        box = LinfBall.around(clean, self.recipe.eps)
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


class CdaRun(TrainingRun[CdaRecipe, CdaTrainer]):
    """One training of CDA in one folder; see :class:`nrpurify.training.run.TrainingRun`.

    Args:
        recipe: What to do.
        data: Folder of photos; no labels are read.
        folder: Where the run lives.
        device: Where to train.
        progress: Sees steps with their loss, and validations.
    """

    weights_name = "generator.safetensors"

    def __init__(
        self,
        recipe: CdaRecipe,
        data: Path,
        folder: Path,
        device: torch.device,
        progress: Progress = SILENT,
    ) -> None:
        self.photos, self.held_out = split_photos(data, recipe.holdout)
        trainer = CdaTrainer(recipe, self.photos, device)
        super().__init__(recipe, trainer, [*self.photos, *self.held_out], folder, device, progress)

    def _validation(self) -> Measurement | None:
        plan = self.recipe.validation
        if not self.held_out or not plan.photos:
            return None
        victim = load_classifier(plan.victim, device=self.device)
        clean = center_crops(self.held_out[: plan.photos], plan.side).to(self.device)
        return Measurement(plan.every, lambda: agreement(self.trainer.average, victim, clean, plan))

    def _counts(self) -> dict[str, int]:
        return {"photos": len(self.photos), "held_out": len(self.held_out)}

    def _write_weights(self) -> None:
        arguments = {"blocks": BLOCKS[self.recipe.size]}
        card = Card("cda", GENERATOR, arguments, self.training_card(), dict(self.metrics))
        with writable(self.weights_file):
            save_generator(self.trainer.average, self.weights_file, card)


@torch.no_grad()
def agreement(
    generator: torch.nn.Module,
    victim: Callable[[Tensor], Tensor],
    clean: Tensor,
    plan: AttackValidation,
) -> dict[str, float]:
    """``agree_8`` and so on: how often ``victim`` answers attacked images as clean ones.

    Args:
        generator: The attack.
        victim: A classifier.
        clean: N×3×H×W in [0, 1].
        plan: Its ``eps`` are used; 8/255 is written as 8.
    """
    label = victim(clean).argmax(1)
    return {
        f"agree_{255 * eps:.3g}": float(
            (victim(cda(generator, clean, eps=eps)).argmax(1) == label).float().mean()
        )
        for eps in plan.eps
    }
