"""For MAITE, the protocols of test and evaluation (maite 0.10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrpurify.attacks.surrogate import Model
from nrpurify.core.images import as_floats
from nrpurify.defenses.create import as_defense
from nrpurify.interop.pictures import defend_picture
from nrpurify.interop.target import torch_model


class MaiteAugmentation:
    """A defense as MAITE's ``Augmentation``, of classification and of detection.

    Images are 3×H×W arrays or tensors, uint8 or floats in [0, 1]; the same come out. Targets and
    the metadata of each datum stay as they are.

    Args:
        defense: A spec, a file, or a module or function from images to images, see
            :func:`nrpurify.protect`. It keeps the size.
        id: Of the metadata; by default the spec, or the name of the class or function.
        device: Where it works.
    """

    def __init__(
        self,
        defense: str | Path | Callable[[Tensor], Tensor] = "fast",
        *,
        id: str | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        name = str(defense) if isinstance(defense, str | Path) else type(defense).__name__
        self.metadata = {"id": id or f"nrpurify {name}"}
        self.defense = as_defense(defense).to(device).eval()

    def __call__(
        self, batch: tuple[Sequence[Any], Sequence[Any], Sequence[Any]], /
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Images, targets and metadata, the images defended.

        Raises:
            InputError: Images of another shape or range.
        """
        images, targets, metadata = batch
        return [defend_picture(self.defense, _given(one)) for one in images], targets, metadata


class MaiteClassifier:
    """A protected model, or any classifier of images in [0, 1], as MAITE's ``Model``.

    Args:
        model: Maps N×3×H×W images in [0, 1] to N×classes logits.
        id: Of the metadata.
        index2label: Names of the classes; may be left out.
        device: See :func:`nrpurify.interop.torch_model`.
    """

    def __init__(
        self,
        model: Model,
        *,
        id: str,
        index2label: Mapping[int, str] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.metadata: dict[str, Any] = {"id": id}
        if index2label is not None:
            self.metadata["index2label"] = dict(index2label)
        self.model = torch_model(model, device=device)

    @torch.no_grad()
    def __call__(self, images: Sequence[Any], /) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """One float32 array of probabilities for each 3×H×W image; images may differ in size."""
        pixels = [torch.as_tensor(_given(one)) for one in images]
        answers = [self.model(as_floats(one)[None].to(self.model.device)) for one in pixels]
        return [answer[0].softmax(0).cpu().numpy() for answer in answers]


def _given(image: Any) -> Any:
    """MAITE's images are whatever numpy can read."""
    return image if isinstance(image, Tensor | np.ndarray) else np.asarray(image)
