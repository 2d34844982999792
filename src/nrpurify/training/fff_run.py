"""The making of FFF's pattern, from a recipe to a file."""

from __future__ import annotations

import time
from pathlib import Path

import torch

import nrpurify
from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.fff import fff_perturbation
from nrpurify.attacks.trained import PATTERN, save_pattern
from nrpurify.core.files import check_writable
from nrpurify.models.features import feature_extractor
from nrpurify.purifiers import Card
from nrpurify.training.attack_recipe import FffRecipe


def make_fff(
    recipe: FffRecipe,
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    callback: Callback | None = None,
) -> Card:
    """Make a pattern without data and write it with its card.

    Args:
        recipe: What to do.
        path: The safetensors file to write, whole or not at all.
        device: Where to work.
        callback: See :func:`nrpurify.attacks.fff.fff_perturbation`.

    Returns:
        The card as written.

    Raises:
        InputError: No such network or layer, or ``path`` cannot be written.
        WeightsError: The network's weights are not to be had.
    """
    check_writable(path)
    started, taken = time.monotonic(), 0

    def count(step: int, value: torch.Tensor) -> None:
        nonlocal taken
        taken = step
        if callback is not None:
            callback(step, value)

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
    training = {
        "steps_done": taken,
        "seconds": round(time.monotonic() - started),
        "torch": torch.__version__,
        "nrpurify": nrpurify.__version__,
        "recipe": recipe.to_dict(),
    }
    metrics = {"saturation": round(float((pattern.abs() >= 1 - 1e-6).float().mean()), 4)}
    return save_pattern(pattern, path, Card("fff", PATTERN, {}, training, metrics))
