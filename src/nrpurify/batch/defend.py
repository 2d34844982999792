"""One decoded image through a defense: in tiles where it is large, with its opacity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.images import Image
from nrpurify.core.precision import Amp
from nrpurify.defenses.randomness import RandomDefense
from nrpurify.purifiers import DynamicPurifier, Purifier


@torch.no_grad()
def defend_image(
    defense: nn.Module, image: Image, *, device: torch.device | str, tile: int, amp: Amp
) -> tuple[Tensor, Tensor | None]:
    """Defend an image; its opacity moves with it.

    8-bit images stay 8-bit in memory on their way through a purifier.

    Args:
        defense: A purifier or another module from images to images, on ``device``.
        image: What :func:`nrpurify.core.images.read_image` gave.
        device: Where to work.
        tile: Side of the tiles in pixels.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"`` (where the hardware has it).

    Returns:
        3×H×W color and 1×H×W opacity (None without transparency) on the CPU: uint8, or floats in
        [0, 1].
    """
    if isinstance(defense, Purifier) and image.pixels.dtype == torch.uint8:
        pixels = image.pixels[None].to(device)
        defended, alpha = defense.purify_pixels(pixels, tile=tile, amp=amp), image.opacity
        alpha = None if alpha is None else alpha[None]
    else:
        alpha = None if image.alpha is None else image.alpha[None].to(device)
        defended, alpha = _defend(defense, image.rgb[None].to(device), alpha, tile, amp)
    alpha = _fit(alpha, defended)
    return defended[0].cpu(), None if alpha is None else alpha[0].cpu()


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
