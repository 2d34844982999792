"""For datasets: a function for ``map`` and ``set_transform``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.defenses.create import as_defense
from nrpurify.interop.pictures import defend_picture


class PurifyExamples:
    """Purify a column of images.

    >>> dataset.map(PurifyExamples("fast", column="image"), batched=True)  # doctest: +SKIP
    >>> dataset.set_transform(PurifyExamples("fast"))  # doctest: +SKIP

    Args:
        defense: A spec, a file, or a module or function from images to images, see
            :func:`nrpurify.protect`. It keeps the size.
        column: Holds Pillow images, or arrays as :func:`~nrpurify.interop.pictures.defend_picture`
            takes them; entries that are None stay.
        device: Where the defense works.
    """

    def __init__(
        self,
        defense: str | Path | Callable[[Tensor], Tensor] = "fast",
        *,
        column: str = "image",
        device: str | torch.device | None = None,
    ) -> None:
        self.column = column
        self.defense = as_defense(defense).to(device).eval().requires_grad_(False)

    def __call__(self, examples: Mapping[str, Any]) -> dict[str, Any]:
        """One example, or a batch of them as lists.

        Raises:
            InputError: There is no such column, or an image cannot be taken.
        """
        if self.column not in examples:
            raise InputError(
                f"there is no column {self.column!r} among {', '.join(examples)}; give column="
            )
        given = examples[self.column]
        batch = given if isinstance(given, list) else [given]
        found = [None if one is None else defend_picture(self.defense, one) for one in batch]
        return {**examples, self.column: found if isinstance(given, list) else found[0]}
