"""Files of ``torch.save`` that anybody may have made, read without code or a flood of memory."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from nrpurify.core.errors import WeightsError

_ZIP = b"PK\x03\x04"


def load_state(path: Path, limit: int | None = None) -> Any:
    """Read a file of ``torch.save`` that anybody may have made: tensors and plain values alone.

    Args:
        path: The file.
        limit: As for :func:`check_size`.

    Raises:
        WeightsError: See :func:`check_size`.
        Exception: Whatever reading a damaged pickle raises.
    """
    check_size(path, limit)
    return torch.load(path, map_location="cpu", weights_only=True)


def check_size(path: Path, limit: int | None = None) -> None:
    """Hold a file of ``torch.save`` against a limit, without reading what it holds.

    Args:
        path: A zip archive, or a file of the older kind, whose tensors lie in it as they are.
        limit: In bytes of unpacked tensors and what describes them, besides 1 MB; None: the size
            of the file itself.

    Raises:
        WeightsError: It holds more, or is packed, which PyTorch never does.
        OSError: It cannot be read.
        zipfile.BadZipFile: It is a broken archive.
    """
    with path.open("rb") as file:
        packed = file.read(len(_ZIP)) == _ZIP
    size = _unpacked_size(path) if packed else path.stat().st_size
    most, whose = (
        (path.stat().st_size, "in such a file") if limit is None else (limit, "for this design")
    )
    if size > most + 2**20:
        raise WeightsError(
            f"{path} holds {size:,} bytes; expected at most {most + 2**20:,} {whose}"
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
