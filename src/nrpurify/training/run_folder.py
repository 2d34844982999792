"""The folder of a training run: its recipe, and the state from which it goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import nrpurify
from nrpurify.core.config import Place, RecipeError, dotted, shown
from nrpurify.core.errors import InputError, NrpurifyError, WeightsError
from nrpurify.core.files import atomic_path, read_json, write_json
from nrpurify.core.hashing import content_hashes
from nrpurify.core.lock import locked_at_once
from nrpurify.core.torch_files import load_state

MADE_AGAIN = "delete it, and it is made again"
_ORIGIN = "origin.json"


@contextmanager
def readable(file: Path, mend: str) -> Iterator[None]:
    """Name ``file`` and how to mend it when reading it fails in the block.

    Args:
        file: The file that the block reads.
        mend: What the user can do about a damaged file.

    Raises:
        WeightsError: In place of any exception but the package's own, and of RecipeError.
    """
    try:
        yield
    except RecipeError as error:
        rows = "; ".join(f"{dotted(place)}: {text}" for place, text in error.problems[:3])
        raise WeightsError(f"{file} cannot be read: {rows}; {mend}") from error
    except NrpurifyError:
        raise
    except KeyError as error:
        raise WeightsError(f"{file} cannot be read: it has no entry {error}; {mend}") from error
    except Exception as error:  # torch, safetensors and JSON raise many kinds
        raise WeightsError(f"{file} cannot be read: {_first_line(error)}; {mend}") from error


@contextmanager
def writable(file: Path) -> Iterator[None]:
    """Name ``file`` and the free space when writing it fails in the block.

    Raises:
        WeightsError: In place of OSError, and of what torch and safetensors raise on a full disk.
    """
    try:
        yield
    except NrpurifyError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{file} cannot be written: {_first_line(error)} ({_free(file)}); free some space or "
            "check the folder's permissions, then go on with --resume"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160].rstrip(".") if text else type(error).__name__


def _free(file: Path) -> str:
    try:
        return f"{shutil.disk_usage(file.parent).free / 1e6:.0f} MB free"
    except OSError:
        return "free space unknown"


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
    """sha256 over the files' names and sizes in bytes, a dash, and one over names and contents.

    The order of the files does not matter. Runs of older versions have the first part only.
    """
    files = list(paths)
    sizes = [f"{path.name} {path.stat().st_size}" for path in files]
    hashes = content_hashes(files)
    contents = [f"{path.name} {value}" for path, value in zip(files, hashes, strict=True)]
    return f"{_rows_hash(sizes)}-{_rows_hash(contents)}"


def _rows_hash(rows: list[str]) -> str:
    text = "\n".join(sorted(rows))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def read_origin(run: Path, mend: str) -> Origin | None:
    """What the run in the folder ``run`` was started from; None where it does not say.

    Args:
        run: A run's folder.
        mend: What the user can do about a damaged file.

    Raises:
        WeightsError: The file cannot be read.
    """
    file = run / _ORIGIN
    if not file.exists():
        return None
    with readable(file, mend):
        return Origin(**read_json(file))


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``recipe.json``, ``origin.json`` and, from the first checkpoint, ``state.pt``.

    Attributes:
        path: Where it lies.
        recipe: All settings, as plain values.
        complete: Gives settings that an older version wrote the defaults of those it did not know.
        extends: Name of a number in the recipe that may be larger when the run goes on, such as
            ``steps``; empty for none.
    """

    path: Path
    recipe: dict[str, Any]
    complete: Callable[[dict[str, Any]], dict[str, Any]] = dict
    extends: str = ""

    @property
    def state_file(self) -> Path:
        """Where the state is kept."""
        return self.path / "state.pt"

    @property
    def _recipe_file(self) -> Path:
        return self.path / "recipe.json"

    @property
    def _origin_file(self) -> Path:
        return self.path / _ORIGIN

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training in it during the block.

        Raises:
            InputError: Another process trains in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked_at_once(self.path / "run.lock") as got:
            if not got:
                raise InputError(
                    f"another process is training in {self.path}; wait for its end, or name "
                    "another folder"
                )
            yield

    def enter(self, origin: Origin, *, resume: bool) -> dict[str, Any] | None:
        """Make the folder; return the state to go on from, on the CPU, None when there is none.

        Raises:
            InputError: It holds a run and ``resume`` is not given, or one of another recipe or
                origin.
            WeightsError: A file of the run cannot be read.
        """
        if self.state_file.exists() and not resume:
            raise InputError(
                f"{self.path} holds a run already; add --resume to go on with it, "
                "or name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        if self._recipe_file.exists():
            mend = "delete it if the settings are the same, or name another folder"
            with readable(self._recipe_file, mend):
                self._check(read_json(self._recipe_file))
        self._check_origin(origin)
        return self._read() if self.state_file.exists() else None

    def write_start(self, origin: Origin) -> None:
        """Write recipe and origin: only these can use the folder from now on."""
        with writable(self._recipe_file):
            write_json(self._recipe_file, self.recipe)
        if self._origin() is None:
            with writable(self._origin_file):
                write_json(self._origin_file, asdict(origin))

    def warm_start(self) -> dict[str, str]:
        """What a card records of the weights that the run began with, if there were any."""
        origin = self._origin()
        return {"warm_start": origin.warm_start} if origin and origin.warm_start else {}

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, tensors and plain values, whole or not at all.

        Raises:
            WeightsError: It cannot be written, as on a full disk.
        """
        with writable(self.state_file), atomic_path(self.state_file) as temporary:
            torch.save({**state, "recipe": json.dumps(self.recipe, sort_keys=True)}, temporary)

    def _origin(self) -> Origin | None:
        mend = "delete it if photos and warm start are the same, or name another folder"
        return read_origin(self.path, mend)

    def _check_origin(self, origin: Origin) -> None:
        before = self._origin()
        if before is None:
            return
        need_warm_start = origin.warm_start or not self.state_file.exists()
        for same, text in (
            (_same_data(before.data, origin.data), "on other files; resume with the same"),
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
        with self.reading_state():
            state: dict[str, Any] = load_state(self.state_file)
            self._check(json.loads(state["recipe"]))
        return state

    def reading_state(self) -> AbstractContextManager[None]:
        """Name the state's file when something in the block does not find in it what it needs."""
        return readable(self.state_file, "delete it to start at step 0, or name another folder")

    def _check(self, written: dict[str, Any]) -> None:
        if written == _plain(self.recipe):
            return
        before, now = (_plain(self.complete(values)) for values in (written, self.recipe))
        changes = [c for c in _differences(before, now) if not self._is_longer(*c)]
        if changes:
            rows = [f"{dotted(p)} was {shown(a)} and is {shown(b)}" for p, a, b in changes[:3]]
            more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise InputError(
                f"{self.path} was started with another recipe: {', '.join(rows)}{more}; resume "
                "with the same settings or name another folder"
            )

    def _is_longer(self, place: Place, before: Any, now: Any) -> bool:
        return place == (self.extends,) and now > before


def circumstances(
    seconds: float, device: torch.device | str, recipe: dict[str, Any]
) -> dict[str, Any]:
    """What every card records of a training run."""
    return {
        "seconds": round(seconds),
        "device": str(device),
        "torch": torch.__version__,
        "nrpurify": nrpurify.__version__,
        "recipe": recipe,
    }


def _same_data(before: str, now: str) -> bool:
    return before == now or ("-" not in before and now.startswith(f"{before}-"))


def _plain(values: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(values))


def _differences(before: Any, now: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Settings that differ, each with its place and both values; None where there is no setting."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), (*place, key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (a, b) in enumerate(zip(before, now, strict=True)):
            yield from _differences(a, b, (*place, index))
    elif before != now:
        yield place, before, now
