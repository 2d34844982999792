"""The attacked images that a grid left on disk, as its cells name them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.evaluation.cache import stored_images
from nrpurify.results import Result


def attacked_images(run: Path, cell: Result, names: list[str]) -> Tensor:
    """The images N×3×H×W in [0, 1] behind a cell of a transfer.

    Args:
        run: The run's folder.
        cell: One of its cells.
        names: Of the images, as the grid calls them.

    Raises:
        InputError: They are not there.
    """
    folder = run / "adversaries" / Path(cell["settings"].get("adversaries") or "").name
    found = stored_images(folder, names)
    if found is None:
        raise InputError(f"{run} has no attacked images of the cell {cell['id']}; run it again")
    return found
