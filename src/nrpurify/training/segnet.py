"""Training of SegNet-Basic on images with class masks."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import DivergenceError, InputError
from nrpurify.core.model_card import Card
from nrpurify.core.random import random_integer
from nrpurify.data.masks import CAMVID, IGNORED, ClassTable, Pair, Sample, find_pairs
from nrpurify.models.segmenters.checkpoint import ARCHITECTURE, load_segnet, save_segnet
from nrpurify.models.segmenters.segnet import SegNetBasic
from nrpurify.training.adversaries import seeded
from nrpurify.training.file_errors import writable
from nrpurify.training.log import RunLog
from nrpurify.training.optim import learning_rate, set_rate, update_average
from nrpurify.training.photos import rank
from nrpurify.training.run_folder import Origin, RunFolder, circumstances, files_hash
from nrpurify.training.segnet_data import random_view, read_labeled
from nrpurify.training.segnet_finish import measure, settle_norms
from nrpurify.training.segnet_recipe import SegNetRecipe

Watch = Callable[[int, int, float], None]
"""Called after each step with (steps done, steps in all, loss)."""


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
        torch.manual_seed(recipe.seed)
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
        """Views and their masks, drawn anew while all is void.

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
    watch: Watch | None = None,
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
        watch: Sees progress.

    Raises:
        InputError: Folders or a pair that cannot be used; ``folder`` holds a run and ``resume`` is
            not given, or one of another recipe, other files or another warm start.
        WeightsError: The state or the warm start cannot be read.
    """
    plan, place = recipe or SegNetRecipe(), torch.device(device)
    pairs, lonely = find_pairs(images, masks)
    if lonely:
        raise InputError(f"{lonely[0].text}; {len(lonely)} such files, mend the folders")
    used, held_out = split_pairs(pairs, plan.holdout)
    trainer = SegNetTrainer(plan, used, table, place)
    run = RunFolder(Path(folder), plan.to_dict())
    first = None if warm_start is None else load_segnet(warm_start)
    files = files_hash(path for pair in pairs for path in (pair.image, pair.mask))
    origin = Origin(files, warm_start=first[1].sha256 if first else "")
    with run.alone():
        state = run.enter(origin, resume=resume)
        run.write_start(origin)
        before = 0.0
        if state is not None:
            with run.reading_state():
                trainer.load_state(state["trainer"])
                before = float(state["seconds"])
        elif first is not None:
            trainer.start_from(first[0])
        seconds = _run(trainer, run, before, watch)
        trainer.settle()
        held = measure(trainer.average, _read(held_out, table), place) if held_out else None
        return _save(trainer, run, held, len(held_out), seconds)


def _run(trainer: SegNetTrainer, run: RunFolder, before: float, watch: Watch | None) -> float:
    """Do the steps that are left; return the seconds spent in all."""
    plan, log, started = trainer.recipe, RunLog(run.path, trainer.step), time.monotonic() - before
    while trainer.step < plan.steps:
        values = trainer.train_step()
        log.write("train", trainer.step, values)
        if watch is not None:
            watch(trainer.step, plan.steps, values["loss"])
        if trainer.step % plan.checkpoint_every == 0 or trainer.step == plan.steps:
            run.save({"trainer": trainer.state(), "seconds": time.monotonic() - started})
    log.close()
    return time.monotonic() - started


def _read(pairs: list[Pair], table: ClassTable) -> Iterator[Sample]:
    return (read_labeled(pair, table) for pair in pairs)


def _save(
    trainer: SegNetTrainer, run: RunFolder, held: float | None, held_out: int, seconds: float
) -> Path:
    training = {
        "images": len(trainer.pairs),
        "held_out": held_out,
        **run.warm_start(),
        **circumstances(seconds, trainer.device, trainer.recipe.to_dict()),
    }
    metrics = {} if held is None else {"pixel accuracy, held out": round(held, 4)}
    arguments = {"num_classes": len(trainer.table.names)}
    card = Card("segnet-basic", ARCHITECTURE, arguments, training, metrics)
    file = run.path / "segmenter.safetensors"
    with writable(file):
        save_segnet(trainer.average, card, file)
    return file


def split_pairs(pairs: list[Pair], holdout: float) -> tuple[list[Pair], list[Pair]]:
    """Split into (training, held out) by the hash of the names, alike on every machine.

    Raises:
        InputError: A share outside [0, 1), or nothing left to train on.
    """
    if not 0 <= holdout < 1:
        raise InputError(f"holdout is {holdout}; expected a share in [0, 1)")
    held = round(holdout * len(pairs))
    if held == len(pairs):
        raise InputError(f"holding out {held} of {len(pairs)} pairs leaves none to train on")
    ranked = sorted(pairs, key=lambda pair: rank(pair.name))
    return ranked[held:], ranked[:held]
