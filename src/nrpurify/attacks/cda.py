"""CDA, cross-domain adversaries out of a trained generator (Naseer et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.box import Box, Eps
from nrpurify.attacks.draws import Source
from nrpurify.attacks.logits import in_groups
from nrpurify.attacks.presets import choose
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.trained import load_generator
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.core.errors import InputError
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32


@dataclass(frozen=True)
class CdaSettings:
    """How a generator is used.

    Attributes:
        smooth: Whether its output is filtered by a 3×3 Gaussian of σ 1 before it is clipped, which
            the authors advise against adversarially trained victims.
    """

    smooth: bool = False


PRESETS = {name: CdaSettings() for name in ("paper", "authors")}


@torch.no_grad()
def cda(
    model: torch.nn.Module | None,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    smooth: bool | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """What a generator makes of the images, clipped to ``eps`` around them and to [0, 1].

    One generator serves every eps, and neither victim nor label is asked.

    Args:
        model: From :func:`nrpurify.attacks.trained.load_generator`, or any network from N×3×H×W
            images in [0, 1] to the same; None for the generator that the package carries.
        images: N×3×H×W in [0, 1], of any float type and size.
        labels: Ignored, as are ``generator`` and ``callback``: present so that all attacks are
            called alike.
        eps: L∞ budget in (0, 1], one value or one an image.
        preset: ``paper`` or ``authors``, which agree.
        smooth: See :class:`CdaSettings`.
        generator: Ignored: nothing is random here. Not the network, which is ``model``.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
        callback: Ignored: there are no steps.

    Returns:
        Adversarial images of the same shape and dtype, within ``eps`` and [0, 1].

    Raises:
        InputError: Images or eps that cannot be used, or a network whose output is no image of
            the same size.
    """
    chosen = choose(PRESETS, preset, smooth=smooth)
    check_images(images)
    clean = at_least_fp32(images.detach())
    box = Box.around(clean, eps)
    network = load_generator(device=clean.device) if model is None else model
    with frozen(network):
        # one forward pass gains nothing from a batch on the CPU, and kernels round by its size
        made = in_groups(lambda batch: generated(network, batch), torch.split(clean, 1), amp)
    made = _smoothed(made) if chosen.smooth else made
    return box.cast(box.project(made.to(clean.dtype)), images.dtype)


def generated(network: torch.nn.Module, images: Tensor) -> Tensor:
    """The network's unbounded answer to N×3×H×W images, in at least fp32.

    Raises:
        InputError: The answer has another shape.
    """
    weight = next(network.parameters(), images)
    answer: Tensor = network(images.to(weight.dtype))
    if answer.shape != images.shape:
        raise InputError(
            f"the generator answered {tuple(answer.shape)} to images of {tuple(images.shape)}; "
            "expected the same shape"
        )
    return at_least_fp32(answer)


def _smoothed(images: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return smoother(gaussian_kernel(3, 1.0))(padded)[..., 1:-1, 1:-1]
