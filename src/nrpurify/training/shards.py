"""Adversaries that one run made and another can use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nrpurify.core.files import atomic_path, read_json
from nrpurify.training.adversaries import kept_shards
from nrpurify.training.file_errors import readable
from nrpurify.training.recipe import Recipe, recipe_from_dict


def shard_settings(recipe: Recipe) -> dict[str, Any]:
    """What in a recipe decides its shards, given the photos."""
    settings = recipe.to_dict()
    names = ("seed", "adversaries", "eps", "resize", "square", "holdout")
    named = {name: settings[name] for name in names}
    cache = {name: settings["cache"][name] for name in ("shard_size", "crop")}
    return {**named, **cache, "amp": settings["optimization"]["amp"]}


def borrow_shards(recipe: Recipe, folder: Path, other: Path) -> None:
    """Copy the shards that the run in ``other`` made, if a run of ``recipe`` makes the same.

    Args:
        recipe: Of the run in ``folder``, on the same photos as the other.
        folder: Shards that it has are left alone.
        other: Folder of a run.

    Raises:
        WeightsError: The other run's recipe cannot be read.
    """
    file = other / "recipe.json"
    with readable(file, "delete it, and its shards are not borrowed"):
        theirs = recipe_from_dict(read_json(file))
    if shard_settings(theirs) != shard_settings(recipe):
        return
    for shard in kept_shards(other):
        mine = folder / shard.relative_to(other)
        if not mine.exists():
            with atomic_path(mine) as temporary:
                shutil.copyfile(shard, temporary)
