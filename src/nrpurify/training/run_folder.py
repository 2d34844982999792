"""The folder of a training run: its recipe, and the state from which it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import nrpurify
from nrpurify.errors import InputError, WeightsError
from nrpurify.files import atomic_path, write_json


@dataclass(frozen=True)
class Origin:
    """What a run is started from, besides its recipe; it goes on from nothing else.

    Attributes:
        data: Of the files that it learns from, see :func:`files_hash`.
        processes: How many share a step.
        warm_start: sha256 of the weights that it begins with, empty for none.
    """

    data: str
    processes: int = 1
    warm_start: str = ""


def files_hash(paths: Iterable[Path]) -> str:
    """sha256 over the files' names and sizes in bytes, in any order."""
    rows = sorted(f"{path.name} {path.stat().st_size}" for path in paths)
    return hashlib.sha256("\n".join(rows).encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``recipe.json``, ``origin.json`` and, from the first checkpoint, ``state.pt``.

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

    @property
    def _origin_file(self) -> Path:
        return self.path / "origin.json"

    def enter(self, origin: Origin, *, resume: bool) -> dict[str, Any] | None:
        """Make the folder; return the state to go on from, on the CPU, None when there is none.

        Raises:
            InputError: It holds a run and ``resume`` is not given, or one of another recipe or
                origin.
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
        self._check_origin(origin)
        return self._read() if self.state_file.exists() else None

    def write_start(self, origin: Origin) -> None:
        """Write recipe and origin: only these can use the folder from now on."""
        write_json(self._recipe_file, self.recipe)
        if self._origin() is None:
            write_json(self._origin_file, asdict(origin))

    def warm_start(self) -> dict[str, str]:
        """What a card says of the weights that the run began with; nothing if there were none."""
        origin = self._origin()
        return {"warm_start": origin.warm_start} if origin and origin.warm_start else {}

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, tensors and plain values, whole or not at all."""
        with atomic_path(self.state_file) as temporary:
            torch.save({**state, "recipe": json.dumps(self.recipe, sort_keys=True)}, temporary)

    def _origin(self) -> Origin | None:
        if not self._origin_file.exists():
            return None
        return Origin(**json.loads(self._origin_file.read_text(encoding="utf-8")))

    def _check_origin(self, origin: Origin) -> None:
        before = self._origin()
        if before is None:
            return
        need_warm_start = origin.warm_start or not self.state_file.exists()
        for same, text in (
            (before.data == origin.data, "on other files; resume with the same"),
            (
                before.processes == origin.processes,
                f"by {before.processes} processes, these are {origin.processes}; resume with as "
                "many, since a step takes a batch of each",
            ),
            (
                before.warm_start == origin.warm_start or not need_warm_start,
                f"from weights with sha256 {before.warm_start or '(none)'}; give the same warm "
                "start",
            ),
        ):
            if not same:
                raise InputError(f"{self.path} was started {text}, or name another folder")

    def _read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(
                self.state_file, map_location="cpu", weights_only=True
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
