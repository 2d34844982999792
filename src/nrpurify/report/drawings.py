"""The SVG plots of a run folder, for a page that shows them as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.report.environment import data_uri

MAX_BYTES = 2_000_000
"""A larger plot would make the page unwieldy."""
_ENDING = ".svg"


@dataclass(frozen=True)
class Drawing:
    """A plot: its file's name, and a data URI or, where that is empty, what is wrong with it.

    The URI is for ``<img>`` alone: there an SVG runs no script and fetches nothing.
    """

    name: str
    uri: str = ""
    problem: str = ""


def read_drawings(names: Sequence[str], folder: str | Path) -> list[Drawing]:
    """Read the SVG files among ``names``, each directly in the run folder.

    A file that is missing, larger than :data:`MAX_BYTES` or not an SVG is named in a note; the page
    is made without it.

    Args:
        names: As ``settings.paper.files`` of a run has them; other files than ``.svg`` are passed.
        folder: The run folder.

    Raises:
        InputError: A name leads out of the run folder, or into a folder in it.
    """
    return [_drawing(name, Path(folder)) for name in names if name.lower().endswith(_ENDING)]


def _drawing(name: str, folder: Path) -> Drawing:
    try:
        path = (folder / name).resolve()
        direct, there = path.parent == folder.resolve(), path.is_file()
        data = _start(path) if direct and there else b""
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links
        return Drawing(name, problem=f"it cannot be read: {type(error).__name__}")
    if not direct:
        raise InputError(
            f"settings.paper.files names {name[:60]!r}; expected a file directly in the run folder"
        )
    if not there:
        return Drawing(name, problem="it is not in the run folder")
    if len(data) > MAX_BYTES:
        return Drawing(name, problem=f"it has more than {MAX_BYTES:,} bytes")
    if b"<svg" not in data:
        return Drawing(name, problem="it is no SVG")
    return Drawing(name, data_uri("image/svg+xml", data))


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
