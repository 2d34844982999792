"""How much memory a file of PyTorch would fill, told before it is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from nrpurify.core.errors import WeightsError

_ZIP = b"PK\x03\x04"


def check_size(path: Path, limit: int) -> None:
    """Hold a file of ``torch.save`` against a limit, without reading what it holds.

    Args:
        path: A zip archive, or a file of the older kind, whose tensors lie in it as they are.
        limit: In bytes of unpacked tensors and what describes them, besides 1 MB.

    Raises:
        WeightsError: It holds more, or is packed, which PyTorch never does.
        OSError: It cannot be read.
        zipfile.BadZipFile: It is a broken archive.
    """
    with path.open("rb") as file:
        packed = file.read(len(_ZIP)) == _ZIP
    size = _unpacked_size(path) if packed else path.stat().st_size
    if size > limit + 2**20:
        raise WeightsError(
            f"{path} holds {size:,} bytes; expected at most {limit + 2**20:,} for this design"
        )


def _unpacked_size(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise WeightsError(
                f"{path}: {entry.filename} is compressed; expected a file as torch.save writes it, "
                "which compresses nothing"
            )
    return sum(entry.file_size for entry in entries)
