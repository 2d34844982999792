"""The image strips of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nrpurify.core.decoding import read_picture
from nrpurify.core.errors import InputError
from nrpurify.report.page import Panel, Strip
from nrpurify.report.run import Run

MAX_PIXELS = 4_000_000
"""A larger picture would make the page unwieldy."""


def read_strips(run: Run, folder: str | Path) -> list[Strip]:
    """Read the pictures that ``strips`` names, relative to the run folder or its ``strips``.

    Raises:
        InputError: A strip lacks something, or names a file outside of the run folder.
        ImageError: A picture is missing, broken or larger than :data:`MAX_PIXELS`.
    """
    return [_strip(strip, Path(folder)) for strip in run.items("strips")]


def _strip(strip: Mapping[str, Any], folder: Path) -> Strip:
    name = str(strip.get("name", ""))
    given = strip.get("panels", [])
    if not isinstance(given, list) or not all(isinstance(panel, dict) for panel in given):
        raise InputError(f"'strips' has the panels {given!r}; expected a list of objects")
    panels = [_panel(panel, folder) for panel in given]
    return Strip(name, str(strip.get("label", "")), panels)


def _panel(panel: Mapping[str, Any], folder: Path) -> Panel:
    if "file" not in panel:
        raise InputError(f"a panel in 'strips' lacks 'file': {dict(panel)!r}")
    image = read_picture(_inside(folder, str(panel["file"])), max_pixels=MAX_PIXELS)
    caption = panel.get("caption")
    return Panel(
        str(panel.get("title", "")),
        image,
        None if caption is None else str(caption),
        correct=panel.get("correct"),
    )


def _inside(folder: Path, file: str) -> Path:
    try:
        paths = [(folder / place / file).resolve() for place in ("", "strips")]
        there = [path for path in paths if path.is_file()]
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links
        raise InputError(f"'strips' names {file[:60]!r}, which no file can be called") from error
    if not all(path.is_relative_to(folder.resolve()) for path in paths):
        raise InputError(f"'strips' names {file!r}; expected a file inside the run folder")
    return there[0] if there else paths[1]
