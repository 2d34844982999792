"""The images among the arguments of a call: where they are, and whether they can be used."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_batch, check_range
from nrpurify.core.tracing import has_values

Images = Tensor | list[Tensor]

_PASS_UNIT = (
    "pass images before normalization and give protect() the model's mean= and std=, or give "
    "images='normalized' with them too; values that resizing leaves a little outside need a "
    "clamp to [0, 1]"
)
_NORMALIZED_TWICE = (
    "this model normalizes inside, by the mean and std that protect() was given; pass images "
    "before normalization, or give images='normalized'; values that resizing leaves a little "
    "outside need a clamp to [0, 1]"
)
_PASS_NORMALIZED = (
    "with images='normalized' that is what the images have after undoing mean and std; check these "
    "two, and clamp what resizing leaves a little outside"
)


@dataclass(frozen=True)
class Found:
    """A call's arguments, and which of them are the images.

    Attributes:
        images: N×3×H×W, or a list of 3×H×W.
        place: Their position, or their keyword.
        args: All positional arguments.
        kwargs: All keywords.
    """

    images: Any
    place: int | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """For errors."""
        return self.place if isinstance(self.place, str) else "images"

    def put(self, images: Images) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments with other images."""
        if isinstance(self.place, str):
            return self.args, {**self.kwargs, self.place: images}
        return (*self.args[: self.place], images, *self.args[self.place + 1 :]), self.kwargs


def find_images(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
) -> Found:
    """Find the images: the argument ``name``, else the first that looks like images.

    An empty list is taken for images only where nothing else looks like them.

    Args:
        model: Whose arguments they are.
        args: By position.
        kwargs: By keyword.
        name: None where it is not known.

    Raises:
        InputError: There are none, or other RGB images of their kind, which would pass undefended.
    """
    if name is not None:
        return _named(model, args, kwargs, name)
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    alike = [(key, value) for key, value in given if _looks_like_images(value)]
    full = [key for key, value in alike if isinstance(value, Tensor) or value]
    place = next(iter(full), alike[0][0] if alike else None)
    if place is None:  # wrong images get a better message than none
        place = next((key for key, value in given if isinstance(value, Tensor)), None)
    if place is None:
        kinds = ", ".join(type(value).__name__ for _, value in given) or "no argument"
        raise InputError(
            f"no images among the arguments ({kinds}); expected a tensor N×3×H×W or a list of "
            "3×H×W, by position or keyword"
        )
    found = Found(args[place] if isinstance(place, int) else kwargs[place], place, args, kwargs)
    is_tensor = isinstance(found.images, Tensor)
    pairs = [(key, value) for key, value in alike if isinstance(value, Tensor) == is_tensor]
    rgb = [key for key, value in pairs if _is_rgb(value)]
    if place in rgb and len(rgb) > 1:
        names = [key if isinstance(key, str) else f"argument {key + 1}" for key in rgb]
        raise InputError(
            f"{' and '.join(names)} {'both' if len(rgb) == 2 else 'all'} look like images, of "
            "which one would be defended; name it with input=, and defend the others yourself: "
            "protected.defense(images)"
        )
    return found


def _is_rgb(value: Any) -> bool:
    """Whether what looks like images has three channels of floats, as masks and the like do not."""
    first = value if isinstance(value, Tensor) else next(iter(value), None)
    return first is not None and first.is_floating_point() and first.shape[-3] == 3


def _looks_like_images(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 4
    return isinstance(value, list | tuple) and all(
        isinstance(one, Tensor) and one.ndim == 3 for one in value
    )


def _named(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> Found:
    if name in kwargs:
        return Found(kwargs[name], name, args, kwargs)
    called = model.forward if isinstance(model, nn.Module) else model
    names = list(inspect.signature(called).parameters)
    if name in names and names.index(name) < len(args):
        place = names.index(name)
        return Found(args[place], place, args, kwargs)
    raise InputError(
        f"no argument {name!r} was given, which input= names; the model takes {', '.join(names)}"
    )


def check_values(found: Found, undo: Callable[[Tensor], Tensor] | None, normalizes: bool) -> None:
    """Check images before a model is called with them; none at all will do.

    Args:
        found: The images.
        undo: Brings normalized images to [0, 1]; None where they are in [0, 1].
        normalizes: Whether normalization follows the defense.

    Raises:
        InputError: Another shape, no floats, NaN, or values out of range.
    """
    images, name = found.images, found.name
    if isinstance(images, Tensor):
        _check(images, name, undo, normalizes)
        return
    for index, image in enumerate(images):
        if not isinstance(image, Tensor) or image.ndim != 3:
            what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"{name}[{index}] is {what}; expected 3×H×W")
        _check(image[None], f"{name}[{index}]", undo, normalizes)


def _check(
    images: Tensor, name: str, undo: Callable[[Tensor], Tensor] | None, normalizes: bool
) -> None:
    check_batch(images, name)
    if not has_values(images):
        return
    if undo is None:
        advice = _NORMALIZED_TWICE if normalizes else _PASS_UNIT
        check_range(images, name, advice=advice)
        return
    pixels = images.detach()
    low, high = (float(bound) for bound in torch.aminmax(pixels))
    if low >= 0 and high <= 1 and low < high:
        warnings.warn(
            f"{name} has values from {low:g} to {high:g}, as images in [0, 1]; with "
            "images='normalized' expected images that are normalized by mean and std",
            stacklevel=8,
        )
    step = max(torch.finfo(kind).eps for kind in (images.dtype, torch.float32))
    rounding = 4 * max(1.0, abs(low), abs(high)) * step
    check_range(undo(pixels), name, advice=_PASS_NORMALIZED, tolerance=rounding)
