"""Adversaries on disk, in shards that a run makes once and other runs can use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator

from nrpurify.core.errors import InputError
from nrpurify.core.files import atomic_path, read_json
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.random import random_integer, seeded
from nrpurify.training.adversaries import AdversaryMaker, Pair, check_pair, draw_kind
from nrpurify.training.adversary_config import Adversary
from nrpurify.training.purifier_recipe import Recipe
from nrpurify.training.run_folder import MADE_AGAIN, read_origin, readable, writable


def cache_folder(run: Path, rank: int) -> Path:
    """Where the process ``rank`` of the run in the folder ``run`` keeps its shards."""
    return run / f"adversaries-{rank}"


def kept_shards(run: Path) -> list[Path]:
    """The shards that all processes of the run in the folder ``run`` made."""
    return sorted(run.glob("adversaries-*/shard-*.safetensors"))


@dataclass
class AdversaryCache:
    """Adversaries on disk, in shards; shard k is a function of recipe, rank and k alone.

    Attributes:
        maker: Makes what is missing.
        folder: Holds ``shard-00000.safetensors`` and so on: uint8 ``clean`` and ``adversarial``.
        rank: Of this process among those that share a run; each makes shards of its own.
    """

    maker: AdversaryMaker
    folder: Path
    rank: int = 0

    def __post_init__(self) -> None:
        self._shards: list[Pair] = []
        self._strengthened: list[bool] = []

    def count(self, step: int) -> int:
        """How many shards the recipe wants at ``step``, no more than all steps have crops for.

        Behind the last step that is what the gate's training may see.
        """
        recipe, cache = self.maker.recipe, self.maker.recipe.cache
        if not cache.shards:
            return 0
        crops = recipe.steps * recipe.batch
        if step >= recipe.steps and recipe.gated:
            crops += recipe.gate.steps * recipe.gate.batch
        grown = cache.shards + (step // cache.grow_every if cache.grow_every else 0)
        return min(grown, max(1, -(-crops // cache.shard_size)))

    def kinds(self) -> list[Adversary]:
        """The kinds of all shards with which rank 0 trains the gate, known before one is made."""
        recipe = self.maker.recipe
        generators = (self._generator(index, 0) for index in range(self.count(recipe.steps)))
        return [draw_kind(recipe.adversaries, generator) for generator in generators]

    def _generator(self, index: int, rank: int) -> Generator:
        return seeded(self.maker.recipe.seed, 1, index, rank)

    def path(self, index: int) -> Path:
        """Where shard ``index`` is kept."""
        return self.folder / f"shard-{index:05d}.safetensors"

    def add_shard(self) -> None:
        """Load the next shard, made first when it is not on disk."""
        index = len(self._shards)
        if not self.path(index).exists():
            self._write(index)
        with readable(self.path(index), MADE_AGAIN):
            with safe_open(self.path(index), "pt") as file:
                settings = json.loads((file.metadata() or {}).get("settings", "{}"))
                if not isinstance(settings, dict):
                    raise ValueError(f"its settings are {settings!r}; expected a JSON object")
                pair = Pair(file.get_tensor("clean"), file.get_tensor("adversarial"))
            check_pair(*pair, least=self.maker.recipe.crop)
        self._shards.append(pair)
        self._strengthened.append(settings.get("strengthen", True))

    def __len__(self) -> int:
        return len(self._shards)

    def _write(self, index: int) -> None:
        recipe = self.maker.recipe
        generator = self._generator(index, self.rank)
        pair, settings = self.maker.make(recipe.cache.shard_size, recipe.cache.crop, generator)
        tensors = {
            name: to_uint8(value).cpu().contiguous() for name, value in pair._asdict().items()
        }
        with writable(self.path(index)), atomic_path(self.path(index)) as temporary:
            save_file(tensors, temporary, metadata={"settings": json.dumps(settings)})

    def draw(self, count: int, step: int, generator: Generator) -> Pair:
        """``count`` random float crops out of the shards that ``step`` may see."""
        available = min(self.count(step), len(self._shards))
        return self._draw(self._shards[:available], count, generator)

    def draw_kind(self, count: int, generator: Generator, *, strengthen: bool) -> Pair:
        """``count`` random float crops of the kinds with this ``strengthen``.

        Raises:
            InputError: There are none.
        """
        kinds = zip(self._shards, self._strengthened, strict=True)
        chosen = [shard for shard, strengthened in kinds if strengthened == strengthen]
        if not chosen:
            raise InputError(
                f"no adversary in {self.folder} has strengthen {str(strengthen).lower()}; expected "
                "some for the gate's training: change adversaries, or raise cache.shards"
            )
        return self._draw(chosen, count, generator)

    def has_known(self) -> bool:
        """Whether there are crops of kinds that need no strength."""
        return not all(self._strengthened)

    @staticmethod
    def _draw(shards: Sequence[Pair], count: int, generator: Generator) -> Pair:
        rows = []
        for _ in range(count):
            shard = shards[random_integer(0, len(shards) - 1, generator)]
            row = random_integer(0, len(shard.clean) - 1, generator)
            rows.append((shard.clean[row], shard.adversarial[row]))
        clean, adversarial = (torch.stack(part) for part in zip(*rows, strict=True))
        return Pair(from_uint8(clean), from_uint8(adversarial))


def shard_settings(recipe: Recipe) -> dict[str, Any]:
    """What in a recipe decides its shards, given the photos."""
    settings = recipe.to_dict()
    names = ("seed", "adversaries", "eps", "resize", "square", "holdout")
    named = {name: settings[name] for name in names}
    cache = {name: settings["cache"][name] for name in ("shard_size", "crop")}
    return {**named, **cache, "amp": settings["optimization"]["amp"]}


def borrow_shards(recipe: Recipe, folder: Path, other: Path, data: str) -> None:
    """Copy the shards that the run in ``other`` made, if a run of ``recipe`` makes the same.

    Args:
        recipe: Of the run in ``folder``.
        folder: Shards that it has are left alone.
        other: Folder of a run.
        data: Of the photos of the run in ``folder``, see
            :func:`nrpurify.training.run_folder.files_hash`. A run that does not record its photos
            lends nothing.

    Raises:
        WeightsError: The other run's recipe or origin cannot be read.
    """
    file, mend = other / "recipe.json", "delete it, and its shards are not borrowed"
    with readable(file, mend):
        theirs = Recipe.from_dict(read_json(file))
    origin = read_origin(other, mend)
    same_photos = origin is not None and origin.data == data
    if not same_photos or shard_settings(theirs) != shard_settings(recipe):
        return
    for shard in kept_shards(other):
        mine = folder / shard.relative_to(other)
        if not mine.exists():
            with atomic_path(mine) as temporary:
                shutil.copyfile(shard, temporary)
