"""The attacked images that a grid left on disk, found by what made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.errors import InputError
from nrpurify.floats import read_float
from nrpurify.images import read_image
from nrpurify.paper.experiment import Cell


def attacked_images(run: Path, cell: Cell, names: list[str]) -> Tensor:
    """The images N×3×H×W in [0, 1] behind a cell of a transfer.

    Args:
        run: The run's folder.
        cell: One of its cells.
        names: Of the images, as the grid calls them.

    Raises:
        InputError: They are not there.
    """
    for manifest in sorted((run / "adversaries").glob("*/manifest.json")):
        head = json.loads(manifest.read_text(encoding="utf-8"))["head"]["settings"]
        if _made(head, cell):
            return torch.stack([_read(manifest.parent, name) for name in names])
    raise InputError(f"{run} has no attacked images of the cell {cell['id']}; run it anew")


def _made(head: dict[str, Any], cell: Cell) -> bool:
    sources = ",".join(head["surrogate"]) or ("vgg16" if head["name"] == "ssp" else None)
    own = cell["settings"]
    return bool(
        head["name"] == cell["attack"]
        and sources == cell["surrogate"]
        and abs(head["eps"] - cell["eps"]) < 1e-9
        and head.get("steps") == cell["steps"]
        and head["layers"] == own["layers"]
        and head["purifier"] == own["purifier"]
    )


def _read(folder: Path, name: str) -> Tensor:
    png = folder / f"{name}.png"
    return read_image(png).rgb if png.exists() else read_float(folder / f"{name}.safetensors")
