"""Defenses that have to be trained first: found among finished runs, or trained at equal budget."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrpurify.core.errors import InputError
from nrpurify.core.files import read_json
from nrpurify.core.images import write_png
from nrpurify.core.spec import is_file, quoted
from nrpurify.paper import smoke
from nrpurify.paper.bench import Bench

if TYPE_CHECKING:
    from nrpurify.training import Recipe

RECIPES = ("hgd", "ape-gan", "sr", "gnp", "fgsp")
"""Defenses of :mod:`nrpurify.defenses` that take a ``checkpoint``."""
OWN = "trained:"
"""Before the name of a purifier that a plan trains."""
SMOKE_STEPS, SMALL_STEPS = 2, 300
BRISK = {"lr": 1e-3, "warmup": 20, "schedule": "cosine", "clip": 1.0, "ema": 0.98}
"""Optimization where steps are few: the recipes' own rates hardly leave the start in so many."""


def find(bench: Bench, name: str) -> Path | None:
    """The finished purifier ``name`` among the checkpoints and the bench's own runs, or None."""
    folders = [folder for folder in (bench.checkpoints, bench.out / "training") if folder]
    places = [
        place
        for folder in folders
        for place in (folder / f"{name}.safetensors", folder / name / "purifier.safetensors")
    ]
    return next((place for place in places if place.is_file()), None)


def spec(bench: Bench, defense: str) -> str | None:
    """A defense's spec with its checkpoint filled in; None when it has not been trained.

    Args:
        bench: Knows purifier and checkpoints.
        defense: A spec, or ``nrp`` for the bench's purifier, or one of :data:`RECIPES`, or
            ``trained:NAME`` for a purifier that a plan trains.
    """
    if defense == "nrp" or defense.startswith("nrp:"):
        own = quoted(bench.purifier) if is_file(bench.purifier) else bench.purifier
        return own + defense.removeprefix("nrp")
    if defense.startswith(OWN):
        file = find(bench, defense.removeprefix(OWN))
        return None if file is None else quoted(str(file))
    if defense not in RECIPES:
        return defense
    file = find(bench, defense)
    return None if file is None else with_checkpoint(defense, file)


def with_checkpoint(defense: str, file: Path) -> str:
    """The spec of a defense with the file of its weights, whatever the path holds."""
    return f"{defense}:checkpoint={quoted(str(file))}"


def photos(bench: Bench) -> Path:
    """The unlabeled photos to train on; generated ones for smoke.

    Raises:
        InputError: None were given.
    """
    if bench.scale == "smoke":
        folder = bench.out / "generated-training"
        for index in range(8):
            write_png(folder / f"{index}.png", smoke.picture(100 + index))
        return folder
    if bench.data is None:
        raise InputError(
            "this experiment trains purifiers and no photos were given: add --data FOLDER with "
            "unlabeled photos (not those it is judged by), or --checkpoints FOLDER with finished "
            "runs, NAME/purifier.safetensors"
        )
    return bench.data


def base(bench: Bench) -> str:
    """The recipe that all trained defenses extend: the paper's own at the scale full."""
    return "paper" if bench.scale == "full" else "fast"


def train_one(bench: Bench, name: str, recipe: str, changes: dict[str, Any]) -> Path:
    """The purifier ``name``, trained now unless it is there; a broken-off run goes on.

    Args:
        bench: Knows where finished runs are.
        name: Of its folder in ``training``.
        recipe: A shipped training recipe.
        changes: Settings that replace those of the recipe.

    Raises:
        InputError: No photos, settings that cannot be used, or a training of other settings in the
            bench's own folder.
    """
    from nrpurify.training import load_recipe, train

    found = find(bench, name)
    folder = bench.out / "training" / name
    plan = load_recipe(recipe, base=base(bench), **changes)
    unfinished = (folder / "state.pt").exists()
    own = found is not None and found.parent == folder
    if own:
        _check_budget(folder, plan)
    if found is not None and not (unfinished and own):
        return found
    bench.progress.note(f"training {name}: {plan.steps} steps")
    data = photos(bench)
    if not (folder / "recipe.json").exists():  # a run that has begun goes on with its own
        _borrow(plan, folder, data)
    return train(data, folder, plan, device=bench.device, resume=unfinished)


def _borrow(plan: Recipe, folder: Path, photos: Path) -> None:
    """Copy the adversaries that the bench's other trainings made of the same photos."""
    from nrpurify.training.adversary_cache import borrow_shards
    from nrpurify.training.photos import split_photos
    from nrpurify.training.run_folder import files_hash

    others = sorted(file.parent for file in folder.parent.glob("*/recipe.json"))
    if others:
        data = files_hash(chain(*split_photos(photos, plan.holdout)))
        for other in others:
            borrow_shards(plan, folder, other, data)


def _check_budget(folder: Path, plan: Recipe) -> None:
    """Raise InputError if the run in the folder had other settings: the budget is one for all."""
    from nrpurify.training import Recipe
    from nrpurify.training.run_folder import readable

    file = folder / "recipe.json"
    if not file.is_file():
        return
    with readable(file, "delete it if the settings are the same, or name another folder"):
        before = Recipe.from_dict(read_json(file))
    if before != plan:
        raise InputError(
            f"{folder} was trained with other settings ({before.steps} steps, seed {before.seed}; "
            f"now {plan.steps} and {plan.seed}); resume with the same, or name another folder"
        )


def budget(bench: Bench) -> dict[str, Any]:
    """Settings that replace a training recipe's, so that every variant gets the same.

    At the scale full the recipes' own steps count, unless the bench names others. What is compared
    is what the networks say: the paper's strength, 1, and no gate.
    """
    plain: dict[str, Any] = {"strength": {}, "gate": {}}
    if bench.scale == "full":
        return plain if bench.steps is None else {**plain, "steps": bench.steps}
    shards = bench.pick(1, 20, 0)
    side = bench.pick(smoke.SIDE, 128, 128)
    brisk = {"optimization": BRISK} if bench.scale == "small" else {}
    return {
        **plain,
        **brisk,
        "steps": bench.steps or bench.pick(SMOKE_STEPS, SMALL_STEPS, 0),
        "batch": bench.pick(2, 8, 0),
        "crop": side,
        "resize": (smoke.SIDE, smoke.SIDE) if bench.scale == "smoke" else (192, 330),
        "cache": {"shards": shards, "shard_size": bench.pick(2, 16, 0), "crop": side},
        "validation": {"every": 10**9, "photos": 4, "side": side, "steps": 2},
    }
