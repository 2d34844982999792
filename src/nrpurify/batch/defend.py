"""Decoded images through a defense: in tiles where they are large, with their opacity."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.images import Image, to_uint8
from nrpurify.core.precision import Amp
from nrpurify.defenses.randomness import RandomDefense
from nrpurify.purifiers import DynamicPurifier, Purifier


@torch.no_grad()
def defend_image(
    defense: nn.Module,
    image: Image,
    *,
    device: torch.device | str,
    tile: int,
    amp: Amp,
    executor: Executor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Defend an image; its opacity moves with it.

    8-bit images stay 8-bit in memory on their way through a purifier.

    Args:
        defense: A purifier or another module from images to images, on ``device``.
        image: What :func:`nrpurify.core.images.read_image` gave.
        device: Where to work.
        tile: Side of the tiles in pixels.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"`` (where the hardware has it).
        executor: Threads that share a purifier's tiles of an 8-bit image; by default this one
            does all of them.

    Returns:
        3×H×W color and 1×H×W opacity (None without transparency) on the CPU: uint8, or floats in
        [0, 1].
    """
    if isinstance(defense, Purifier) and image.pixels.dtype == torch.uint8:
        pixels = image.pixels[None].to(device)
        defended = defense.purify_pixels(pixels, tile=tile, amp=amp, executor=executor)
        alpha = None if image.opacity is None else image.opacity[None]
    else:
        alpha = None if image.alpha is None else image.alpha[None].to(device)
        defended, alpha = _defend(defense, image.rgb[None].to(device), alpha, tile, amp)
    alpha = _fit(alpha, defended)
    return defended[0].cpu(), None if alpha is None else alpha[0].cpu()


@torch.no_grad()
def defend_together(
    defense: nn.Module,
    images: Sequence[Image],
    *,
    device: torch.device | str,
    tile: int,
    amp: Amp,
    check: bool,
) -> list[tuple[Tensor, Tensor | None]] | None:
    """:func:`defend_image` for 8-bit images of one size, up to ``tile``, in one batch.

    Args:
        defense: A purifier; others take their images one by one.
        images: Of one size.
        device: Where to work.
        tile: Side of the tiles in pixels.
        amp: As for :func:`defend_image`.
        check: Compute the images one by one too.

    Returns:
        What :func:`defend_image` gives of each. None where that cannot be, or where ``check``
        found a result that differs in any bit.
    """
    if not isinstance(defense, Purifier) or max(images[0].pixels.shape) > tile:
        return None
    if any(image.pixels.dtype != torch.uint8 for image in images):
        return None
    given = torch.stack([image.rgb for image in images]).to(device)
    defended = defense.purify(given, tile=tile, amp=amp)
    if check:
        parts = [defense.purify(one[None], tile=tile, amp=amp) for one in given]
        if not torch.equal(defended, torch.cat(parts)):
            return None
    found = []
    for image, rgb in zip(images, to_uint8(defended).cpu(), strict=True):
        alpha = None if image.opacity is None else _fit(image.opacity[None], rgb[None])
        found.append((rgb, None if alpha is None else alpha[0]))
    return found


def _defend(
    defense: nn.Module, images: Tensor, alpha: Tensor | None, tile: int, amp: Amp
) -> tuple[Tensor, Tensor | None]:
    if isinstance(defense, Purifier):
        return defense.purify(images, tile=tile, amp=amp), alpha
    if isinstance(defense, DynamicPurifier):
        return _defend(defense.purifier, defense.step(images), alpha, tile, amp)
    if isinstance(defense, nn.Sequential):
        for part in defense:
            images, alpha = _defend(part, images, alpha, tile, amp)
        return images, alpha
    alpha = _fit(alpha, images)
    if isinstance(defense, RandomDefense) and alpha is not None:
        return defense.defend_with_alpha(images, alpha)
    return defense(images), alpha


def _fit(alpha: Tensor | None, images: Tensor) -> Tensor | None:
    """Opacity resized to images that a defense resized as a whole."""
    if alpha is None or alpha.shape[2:] == images.shape[2:]:
        return alpha
    return F.interpolate(alpha, images.shape[2:])
