"""The making of FFF's pattern, from a recipe to a file (Mopuri et al., 2017)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from nrpurify.attacks.fff import fff_perturbation
from nrpurify.attacks.trained import PATTERN, save_pattern
from nrpurify.core.files import check_writable
from nrpurify.core.model_card import Card
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.ranges import BUDGET, POSITIVE, SEED, SOME, at_least, check
from nrpurify.models.features import feature_extractor
from nrpurify.training.recipe import TrainingRecipe
from nrpurify.training.run_folder import circumstances


@dataclass(frozen=True)
class FffRecipe(TrainingRecipe):
    """How a pattern of FFF is made; the defaults are the paper's (appendix F).

    Attributes:
        network: A name that :func:`nrpurify.models.features.feature_extractor` takes.
        layers: The layers that are excited.
        side: Height and width of the pattern, for images whose short side is 224.
        eps: Budget in (0, 1] during the making.
        steps: Greatest number of steps.
        step_size: Learning rate of Adam, in units of [0, 1] images.
        settled: See :func:`nrpurify.attacks.fff.fff_perturbation`.
        seed: Of the start.

    Raises:
        InputError: A number out of its range.
    """

    network: str = "vgg16"
    layers: tuple[str, ...] = tuple(
        f"relu{block}_{index}"
        for block, count in enumerate((2, 2, 3, 3, 3), 1)
        for index in range(1, count + 1)
    )
    side: int = 224
    eps: float = 10 / 255
    steps: int = 10_000
    step_size: float = 0.1 / 255
    settled: float = 1e-3
    seed: int = 0
    folder: ClassVar[str] = "fff"

    def __post_init__(self) -> None:
        check(
            self,
            layers=SOME,
            side=at_least(1),
            eps=BUDGET,
            steps=at_least(1),
            step_size=POSITIVE,
            settled=at_least(0),
            seed=SEED,
        )


def make_fff(
    recipe: FffRecipe,
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Card:
    """Make a pattern without data and write it with its card.

    Args:
        recipe: What to do.
        path: The safetensors file to write, whole or not at all.
        device: Where to work.
        progress: Sees steps with the mean excitation of all layers.

    Returns:
        The card as written.

    Raises:
        InputError: No such network or layer, or ``path`` cannot be written.
        WeightsError: The network's weights could not be found or downloaded.
    """
    check_writable(path)
    started, taken = time.monotonic(), 0

    def count(step: int, value: torch.Tensor) -> None:
        nonlocal taken
        taken = step
        progress.update("fff", step, recipe.steps, {"excitation": float(value)})

    perturbation = fff_perturbation(
        feature_extractor(recipe.network, recipe.layers).to(device),
        (recipe.side, recipe.side),
        eps=recipe.eps,
        steps=recipe.steps,
        step_size=recipe.step_size,
        settled=recipe.settled,
        generator=torch.Generator().manual_seed(recipe.seed),
        callback=count,
    )
    pattern = (perturbation / recipe.eps).clamp(-1, 1)
    seconds = time.monotonic() - started
    training = {"steps_done": taken, **circumstances(seconds, device, recipe.to_dict())}
    metrics = {"saturation": round(float((pattern.abs() >= 1 - 1e-6).float().mean()), 4)}
    return save_pattern(pattern, path, Card("fff", PATTERN, {}, training, metrics))
