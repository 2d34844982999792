"""A defense as a transform of torchvision, in pipelines of data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.defenses.create import as_defense
from nrpurify.interop.pictures import defend_picture

try:
    from torchvision import tv_tensors
    from torchvision.transforms import v2
except ImportError as error:
    raise MissingExtraError("torchvision", "models") from error


class Purify(v2.Transform):  # type: ignore[misc]
    """Purify the images of a sample; labels, boxes and masks stay as they are.

    >>> pipeline = v2.Compose([Purify("fast"), v2.ToImage(), v2.Resize(256)])  # doctest: +SKIP
    >>> image, boxes = pipeline(image, boxes)  # doctest: +SKIP

    Images are Pillow images, tensors 3×H×W or N×3×H×W, ``tv_tensors.Image`` or ``Video``, or as
    the first argument a numpy array H×W×3: uint8, or floats in [0, 1]. The same comes out. Put it
    before normalization.

    It can be called as transforms of albumentations are: ``Purify()(image=array, mask=mask)``
    returns a dict, and ``albumentations.Lambda(image=Purify())`` is a step of their pipelines.

    Args:
        defense: A spec, a file, or a module or function from images to images, see
            :func:`nrpurify.protect`. It keeps the size.
        device: Where it works.

    Raises:
        InputError: No such defense; when called: no image in the sample, or one that cannot be
            taken, see :func:`nrpurify.interop.pictures.defend_picture`.
    """

    def __init__(
        self,
        defense: str | Path | Callable[[Tensor], Tensor] = "fast",
        *,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        self.defense = as_defense(defense).to(device).eval().requires_grad_(False)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The sample with its images purified."""
        if not inputs:
            if "image" not in named:
                raise InputError(f"no image among {', '.join(named) or 'nothing'}; expected image=")
            return {**named, "image": defend_picture(self.defense, named["image"])}
        if isinstance(inputs[0], np.ndarray):
            result = defend_picture(self.defense, inputs[0])
            return (result, *inputs[1:]) if len(inputs) > 1 else result
        return super().forward(*inputs)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Nothing is drawn; a sample without an image is an error."""
        if not any(_is_image(given) for given in flat_inputs):
            raise InputError(
                "no image in the sample; expected a Pillow image, a tensor 3×H×W or, as the first "
                "argument, a numpy array H×W×3"
            )
        return {}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One image purified; anything else as it is."""
        if not _is_image(inpt):
            return inpt
        if not isinstance(inpt, tv_tensors.TVTensor):
            return defend_picture(self.defense, inpt)
        plain = inpt.as_subclass(Tensor)
        frames = plain.reshape(-1, *plain.shape[-3:]) if plain.ndim > 4 else plain
        result = defend_picture(self.defense, frames).reshape(plain.shape)
        return tv_tensors.wrap(result, like=inpt)


def _is_image(given: Any) -> bool:
    if isinstance(given, tv_tensors.TVTensor):
        return isinstance(given, tv_tensors.Image | tv_tensors.Video)
    return isinstance(given, Tensor | Image.Image)
