"""Random noise of the same size: the control that an attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Box, Eps
from nrpurify.attacks.draws import Source, per_image, start_each
from nrpurify.attacks.presets import choose
from nrpurify.attacks.surrogate import Model
from nrpurify.core.errors import InputError
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32

KINDS = ("sign", "uniform")


@dataclass(frozen=True)
class NoiseSettings:
    """What noise is made of.

    Attributes:
        kind: ``sign``: eps up or down at random; ``uniform``: evenly within eps.
    """

    kind: str = "sign"


PRESETS = {name: NoiseSettings() for name in ("paper", "authors")}


def noise(
    model: Model | None,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    kind: str | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Images plus noise of size eps, within [0, 1].

    Args:
        model: Ignored, as are ``labels``, ``amp`` and ``callback``: present so that all attacks
            are called alike.
        images: N×3×H×W in [0, 1], of any float type.
        labels: Ignored.
        eps: L∞ budget in (0, 1], one value or one an image.
        preset: ``paper`` or ``authors``, which agree.
        kind: ``sign`` or ``uniform``.
        generator: As in :func:`nrpurify.attacks.gradient.gradient_attack`.
        amp: Ignored.
        callback: Ignored.

    Returns:
        Images of the same shape and dtype, within ``eps`` and [0, 1].

    Raises:
        InputError: Images, eps or a kind that cannot be used.
    """
    chosen = choose(PRESETS, preset, kind=kind).kind
    if chosen not in KINDS:
        raise InputError(f"no kind of noise {chosen!r}; expected one of {', '.join(KINDS)}")
    check_images(images)
    clean = at_least_fp32(images.detach())
    box = Box.around(clean, eps)
    noisy = start_each(chosen, clean, eps, per_image(generator, len(clean)))
    return box.cast(box.project(noisy), images.dtype)
