"""For transformers: an image processor that purifies first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.defenses.create import as_defense
from nrpurify.interop.pictures import defend_picture


class PurifyingProcessor:
    """An image processor, or a processor of images and text, behind a defense.

    It takes its place in pipelines; all that it does not have itself is the processor's. Images
    are purified too on their way through ``preprocess``, ``apply_chat_template`` and the
    ``image_processor`` of a processor.

    >>> pipeline = transformers.pipeline(
    ...     "image-classification", model=model, image_processor=PurifyingProcessor(processor)
    ... )  # doctest: +SKIP

    Args:
        processor: Takes images as the first argument or as ``images=``.
        defense: A spec, a file, or a module or function from images to images, see
            :func:`nrpurify.protect`. It keeps the size.
        device: Where the defense works.
    """

    def __init__(
        self,
        processor: Callable[..., Any],
        defense: str | Path | Callable[[Tensor], Tensor] = "fast",
        *,
        device: str | torch.device | None = None,
    ) -> None:
        self.processor = processor
        self.defense = as_defense(defense).to(device).eval()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the processor makes of the purified images.

        Raises:
            InputError: An image that is no Pillow image, numpy array or tensor, or is out of range;
                or ``videos=``.
        """
        return self._ask(self.processor, *args, **kwargs)

    def _ask(self, processor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("videos") is not None:
            raise InputError("videos= would pass undefended; give their frames as images=")
        if args:
            args = (self._defend(args[0]), *args[1:])
        elif kwargs.get("images") is not None:
            kwargs["images"] = self._defend(kwargs["images"])
        return processor(*args, **kwargs)

    def _defend(self, given: Any) -> Any:
        if isinstance(given, str | bytes):
            raise InputError(f"an image is the text {given!r:.60}; expected a loaded image")
        if isinstance(given, list | tuple):
            return [self._defend(one) for one in given]
        return defend_picture(self.defense, given)

    def __getattr__(self, name: str) -> Any:
        if name == "processor":  # before it is set, as while unpickling
            raise AttributeError(name)
        found = getattr(self.processor, name)
        if name == "preprocess":
            return partial(self._ask, found)
        if name == "image_processor":
            return PurifyingProcessor(found, self.defense)
        if name == "apply_chat_template":
            return MethodType(found.__func__, self)  # it calls the processor with the images
        return found
