"""The attacked images that a grid left on disk, as its cells name them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.image_tensors import load_image_tensor
from nrpurify.core.images import read_image
from nrpurify.evaluation.adversaries import MANIFEST
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
    folder = run / "adversaries" / Path(cell["settings"].get("adversaries") or "").name
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{run} has no attacked images of the cell {cell['id']}; run it anew")
    return torch.stack([_read(folder, name) for name in names])


def _read(folder: Path, name: str) -> Tensor:
    png = folder / f"{name}.png"
    return (
        read_image(png).rgb if png.exists() else load_image_tensor(folder / f"{name}.safetensors")
    )
