"""Training of SegNet-Basic on images with class masks."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import DivergenceError, InputError
from nrpurify.core.model_card import Card
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.random import random_integer, seeded
from nrpurify.core.ranges import (
    DECAY,
    POSITIVE,
    SEED,
    SOME,
    at_least,
    check,
    each,
    least_and_greatest,
)
from nrpurify.data.masks import CAMVID, IGNORED, ClassTable, Pair, find_pairs
from nrpurify.models.segmenters.checkpoint import ARCHITECTURE, load_segnet, save_segnet
from nrpurify.models.segmenters.segnet import SegNetBasic
from nrpurify.training.initial import seeded_weights
from nrpurify.training.optim import Optimization, learning_rate, set_rate, update_average
from nrpurify.training.recipe import TrainingRecipe
from nrpurify.training.run import TrainingRun, WarmStart
from nrpurify.training.run_folder import writable
from nrpurify.training.segmenter_data import (
    measure,
    random_view,
    read_labeled,
    settle_norms,
    split_pairs,
)


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        steps: Number of updates.
        batch: Views a step.
        size: Height and width of the views.
        scale: Least and greatest factor by which images are resized before views are cut.

    Raises:
        RecipeError: A number out of its range.
    """

    steps: int
    batch: int
    size: tuple[int, int]
    scale: tuple[float, float]
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            steps=at_least(1),
            batch=at_least(1),
            size=each(at_least(16)),
            scale=least_and_greatest(POSITIVE),
        )


@dataclass(frozen=True)
class SegNetRecipe(TrainingRecipe):
    """Everything that decides a run.

    A full image costs 60 billion multiplications, so views of shrunken images come first, images in
    full size last. The defaults are one run of the stages that the shipped checkpoint went through
    in three, each begun with the weights of the one before (docs/tasks.md).

    Attributes:
        stages: Done one after another.
        lr: Greatest learning rate of AdamW, after ``warmup`` steps; half a cosine down follows.
        warmup: Steps.
        final_lr: Last learning rate.
        weight_decay: Of AdamW.
        ema: Decay of the averaged weights, which are those that are saved; 0 saves the last ones.
        jitter: Greatest relative change of brightness, contrast, saturation and gamma.
        norm_images: Images in full size from which batch-norm statistics are taken at the end;
            0 keeps those of the training.
        holdout: Share of the pairs on which accuracy is measured at the end; not trained on.
        checkpoint_every: Steps between resumable checkpoints.
        seed: Of everything random.

    Raises:
        RecipeError: A number out of its range.
    """

    stages: tuple[Stage, ...] = (
        Stage(1400, 2, (144, 192), (0.35, 0.8)),
        Stage(900, 2, (180, 240), (0.6, 1.1)),
        Stage(1500, 2, (216, 288), (0.65, 1.2)),
        Stage(700, 1, (288, 384), (0.9, 1.1)),
        Stage(1150, 1, (360, 480), (0.95, 1.25)),
    )
    lr: float = 1e-3
    warmup: int = 60
    final_lr: float = 1e-5
    weight_decay: float = 0.02
    ema: float = 0.998
    jitter: float = 0.45
    norm_images: int = 60
    holdout: float = 0.06
    checkpoint_every: int = 50
    seed: int = 0
    folder: ClassVar[str] = "segmenter"

    def __post_init__(self) -> None:
        check(
            self,
            stages=SOME,
            lr=POSITIVE,
            warmup=at_least(0),
            final_lr=at_least(0),
            weight_decay=at_least(0),
            ema=DECAY,
            jitter=DECAY,
            norm_images=at_least(0),
            holdout=DECAY,
            checkpoint_every=at_least(1),
            seed=SEED,
        )

    @property
    def steps(self) -> int:
        """Number of updates in all."""
        return sum(stage.steps for stage in self.stages)

    @property
    def schedule(self) -> Optimization:
        """How the learning rate moves."""
        return Optimization(
            lr=self.lr, warmup=self.warmup, schedule="cosine", final_lr=self.final_lr
        )

    def stage(self, step: int) -> Stage:
        """The stage of the update after ``step`` done ones, ``step`` below :attr:`steps`."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise InputError(f"the recipe ends {step + 1} steps before that")


class SegNetTrainer:
    """Network, optimizer and data of a run, and its single step.

    Everything random at a step is a function of the recipe's seed and the step's number, so a run
    that goes on from a checkpoint does what an uninterrupted one does.

    Args:
        recipe: What to do.
        pairs: Images and masks to train on.
        table: What the masks' values mean.
        device: Where to train.
    """

    def __init__(
        self, recipe: SegNetRecipe, pairs: list[Pair], table: ClassTable, device: torch.device
    ) -> None:
        self.recipe, self.pairs, self.table, self.device = recipe, pairs, table, device
        with seeded_weights(recipe.seed):
            self.network = SegNetBasic(len(table.names)).to(device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """Do one update; return loss and learning rate."""
        images, masks = self._batch()
        rate = learning_rate(self.step, self.recipe.steps, self.recipe.schedule)
        set_rate(self.optimizer, rate)
        self.network.train()
        loss = F.cross_entropy(self.network(images), masks, ignore_index=IGNORED)
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the loss is {float(loss.detach())} at step {self.step}; lower lr (it is "
                f"{self.recipe.lr:g}) and start again in another folder"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        update_average(self.average, self.network, self.recipe.ema, self.step)
        self.step += 1
        return {"loss": float(loss.detach()), "lr": rate}

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Views and their masks; a batch that is void everywhere is drawn again.

        Raises:
            InputError: Ten times in a row it is.
        """
        generator = seeded(self.recipe.seed, self.step)
        for _ in range(10):
            images, masks = self._views(generator)
            if bool((masks != IGNORED).any()):
                return images.to(self.device), masks.to(self.device)
        raise InputError(
            "ten batches in a row are void everywhere, so nothing can be learned; expected masks "
            "that show classes of the table"
        )

    def _views(self, generator: Generator) -> tuple[Tensor, Tensor]:
        plan, stage = self.recipe, self.recipe.stage(self.step)
        images, masks = [], []
        for _ in range(stage.batch):
            pair = self.pairs[random_integer(0, len(self.pairs) - 1, generator)]
            sample = read_labeled(pair, self.table)
            view = random_view(sample, stage.size, stage.scale, plan.jitter, generator)
            images.append(view[0])
            masks.append(view[1])
        return torch.stack(images), torch.stack(masks)

    def settle(self) -> None:
        """Take the averaged network's batch-norm statistics from training images in full size."""
        every = max(1, len(self.pairs) // max(1, self.recipe.norm_images))
        chosen = self.pairs[::every][: self.recipe.norm_images]
        if chosen:
            images = (read_labeled(pair, self.table).image.to(self.device) for pair in chosen)
            settle_norms(self.average, images)

    def state(self) -> dict[str, Any]:
        """All that :meth:`load_state` needs to go on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def start_from(self, network: SegNetBasic) -> None:
        """Begin with the weights of another SegNet-Basic of as many classes (a warm start).

        Raises:
            InputError: It tells another number of classes apart.
        """
        given, wanted = (n.classifier.out_channels for n in (network, self.network))
        if given != wanted:
            raise InputError(f"the warm start has {given} classes; the class table has {wanted}")
        self.network.load_state_dict(network.state_dict())
        self.average.load_state_dict(network.state_dict())


class SegNetRun(TrainingRun[SegNetRecipe, SegNetTrainer]):
    """One training of SegNet-Basic; see :class:`nrpurify.training.run.TrainingRun`.

    The weights are written at the end alone, with the batch-norm statistics of whole images.

    Args:
        recipe: What to do.
        pairs: Images and masks.
        table: What the masks' values mean.
        folder: Where the run lives.
        device: Where to train.
        progress: Sees steps with their loss, and validations.
    """

    weights_name = "segmenter.safetensors"

    def __init__(
        self,
        recipe: SegNetRecipe,
        pairs: list[Pair],
        table: ClassTable,
        folder: Path,
        device: torch.device,
        progress: Progress = SILENT,
    ) -> None:
        used, self.held_out = split_pairs(pairs, recipe.holdout)
        trainer = SegNetTrainer(recipe, used, table, device)
        files = [path for pair in pairs for path in (pair.image, pair.mask)]
        super().__init__(recipe, trainer, files, folder, device, progress)

    def _warm_start(self, source: str | Path) -> WarmStart:
        network, card = load_segnet(source)
        return WarmStart(card.sha256, lambda: self.trainer.start_from(network))

    def _checkpoint(self) -> None:
        self._write_state()

    def _finish(self) -> None:
        self.trainer.settle()
        if self.held_out:
            samples = (read_labeled(pair, self.trainer.table) for pair in self.held_out)
            accuracy = measure(self.trainer.average, samples, self.device)
            self.metrics = {"pixel accuracy, held out": round(accuracy, 4)}
        self._write_weights()

    def _counts(self) -> dict[str, int]:
        return {"images": len(self.trainer.pairs), "held_out": len(self.held_out)}

    def _write_weights(self) -> None:
        arguments = {"num_classes": len(self.trainer.table.names)}
        card = Card(
            "segnet-basic", ARCHITECTURE, arguments, self.training_card(), dict(self.metrics)
        )
        with writable(self.weights_file):
            save_segnet(self.trainer.average, card, self.weights_file)


def train_segnet(
    images: str | Path,
    masks: str | Path,
    folder: str | Path,
    recipe: SegNetRecipe | None = None,
    *,
    table: ClassTable = CAMVID,
    device: torch.device | str = "cpu",
    resume: bool = False,
    warm_start: str | Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Train SegNet-Basic and return its checkpoint, ``segmenter.safetensors`` (float16).

    ``folder`` also gets ``recipe.json``, ``log.jsonl`` and ``state.pt``, to resume from.

    Args:
        images: Folder of images.
        masks: Folder of their class masks, see :func:`nrpurify.data.masks.read_mask`.
        folder: Where the run lives.
        recipe: What to do.
        table: What the masks' values mean.
        device: Where to train.
        resume: Go on with the run in ``folder``.
        warm_start: A checkpoint of :func:`save_segnet` to begin from.
        progress: Sees steps with their loss, and validations.

    Raises:
        InputError: Folders or a pair that cannot be used; ``folder`` holds a run and ``resume`` is
            not given, or one of another recipe, other files or another warm start.
        WeightsError: The state or the warm start cannot be read.
    """
    pairs, lonely = find_pairs(images, masks)
    if lonely:
        raise InputError(f"{lonely[0].text}; {len(lonely)} such files, mend the folders")
    place = torch.device(device)
    run = SegNetRun(recipe or SegNetRecipe(), pairs, table, Path(folder), place, progress)
    return run.execute(resume=resume, warm_start=warm_start)
