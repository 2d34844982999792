"""The folder of a training run: its recipe, and the state from which it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import nrpurify
from nrpurify.errors import InputError, WeightsError
from nrpurify.files import atomic_path, write_json


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``recipe.json`` and, from the first checkpoint on, ``state.pt``.

    Attributes:
        path: Where it lies.
        recipe: All settings, as plain values.
        complete: Gives settings that an older version wrote the defaults of those it did not know.
    """

    path: Path
    recipe: dict[str, Any]
    complete: Callable[[dict[str, Any]], dict[str, Any]] = dict

    @property
    def state_file(self) -> Path:
        """Where the state is kept."""
        return self.path / "state.pt"

    @property
    def _recipe_file(self) -> Path:
        return self.path / "recipe.json"

    def enter(self, device: torch.device, *, resume: bool) -> dict[str, Any] | None:
        """Make the folder; return the state to go on from, None when there is none.

        Raises:
            InputError: It holds a run and ``resume`` is not given, or one of another recipe.
            WeightsError: The state cannot be read.
        """
        if self.state_file.exists() and not resume:
            raise InputError(
                f"{self.path} holds a run already; add --resume to go on with it, "
                "or name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        if self._recipe_file.exists():
            self._check(self._recipe_file.read_text(encoding="utf-8"))
        return self._read(device) if self.state_file.exists() else None

    def write_recipe(self) -> None:
        """Write ``recipe.json``: only this recipe can use the folder from now on."""
        write_json(self._recipe_file, self.recipe)

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, tensors and plain values, whole or not at all."""
        with atomic_path(self.state_file) as temporary:
            torch.save({**state, "recipe": json.dumps(self.recipe, sort_keys=True)}, temporary)

    def _read(self, device: torch.device) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(
                self.state_file, map_location=device, weights_only=True
            )
        except Exception as error:
            raise WeightsError(f"{self.state_file} cannot be read: {error}") from error
        self._check(state["recipe"])
        return state

    def _check(self, text: str) -> None:
        written = json.loads(text)
        if written == json.loads(json.dumps(self.recipe)):
            return
        if _sorted(self.complete(written)) != _sorted(self.complete(self.recipe)):
            raise InputError(
                f"{self.path} was started with another recipe; resume with the same settings "
                "or name another folder"
            )


def circumstances(
    seconds: float, device: torch.device | str, recipe: dict[str, Any]
) -> dict[str, Any]:
    """What every card says of a training run."""
    return {
        "seconds": round(seconds),
        "device": str(device),
        "torch": torch.__version__,
        "nrpurify": nrpurify.__version__,
        "recipe": recipe,
    }


def _sorted(recipe: dict[str, Any]) -> str:
    """A text that is the same whatever the order of the keys, which old states do not keep."""
    return json.dumps(recipe, sort_keys=True)
