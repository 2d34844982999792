"""SSP, the Self-supervised Perturbation: Algorithm 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nrpurify.attacks.ascent import Callback, Objective, ascend
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source, per_image, start_each
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.objectives import away, input_diversity
from nrpurify.attacks.presets import check_settings, choose
from nrpurify.attacks.starts import Start, resolve_start
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp
from nrpurify.models.features import VGG16_BODIES, FeatureExtractor, feature_extractor


@dataclass(frozen=True)
class SspSettings:
    """What SSP does besides its budget and its surrogate.

    Attributes:
        layer: VGG16's layer when no extractor is given.
        distance: Δ of Eq. 1, a name in :data:`nrpurify.models.feature_distances.DISTANCES`.
        start: R of Algorithm 1, a name in :data:`nrpurify.attacks.starts.STARTS` or a callable.
        steps: T, number of iterations.
        step_size: κ, in units of [0, 1] images.
        momentum: Decay of accumulated gradients, 0 for none (not in the paper).
        diversity: Probability of an input-diversity draw at each step, 0 for none (not in it).
        smoothing: Size of the Gaussian filter of the gradient, 0 for none (not in it).

    Raises:
        InputError: A value outside its range.
    """

    layer: str = "conv3_3"
    distance: str = "mae"
    start: str | Start = "uniform"
    steps: int = 100
    step_size: float = 0.01
    momentum: float = 0.0
    diversity: float = 0.0
    smoothing: int = 0

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "momentum", "diversity", "smoothing"))


PRESETS: dict[str, SspSettings] = {
    "paper": SspSettings(),
    "authors": SspSettings(layer="relu3_3", distance="mse", start="gaussian"),
}
"""``paper`` follows the text (κ is not given there), ``authors`` the published script."""


def settings(preset: str = "paper", **changes: Any) -> SspSettings:
    """The settings of ``preset`` with ``changes``; those that are ``None`` are left out.

    Raises:
        InputError: No such preset.
    """
    return choose(PRESETS, preset, **changes)


def default_layer(surrogate: str, plan: SspSettings) -> str | None:
    """The plan's layer in a VGG16; None, the network's own default, elsewhere."""
    return plan.layer if surrogate in VGG16_BODIES else None


@with_gradients
def ssp(
    extractor: FeatureExtractor,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    step_size: float | None = None,
    distance: str | None = None,
    start: str | Start | None = None,
    momentum: float | None = None,
    diversity: float | None = None,
    smoothing: int | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """Perturb images so that their deep features move away from the clean ones (Algorithm 1).

    Args:
        extractor: F; its layer or layers decide where distortion is measured.
        images: N×3×H×W in [0, 1].
        labels: Ignored: SSP needs none. Present so that all attacks are called alike.
        eps: L∞ budget in (0, 1], one value or one an image.
        preset: ``paper`` or ``authors``; whatever follows overrides it (see SspSettings).
        generator: Makes the random start (and diversity) reproducible: one on the CPU for all, or
            one an image.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``. The images of one call go through the
            network together, and kernels round by their number; see
            ``nrpurify.evaluation.attack_runner`` for results that do not depend on it.
        callback: Called after each step with its number and the N feature distances.

    Returns:
        Adversarial images of the same shape, within ``eps`` and [0, 1].

    Raises:
        InputError: Images, eps or a name that cannot be used.
    """
    given = settings(
        preset,
        steps=steps,
        step_size=step_size,
        distance=distance,
        start=start,
        momentum=momentum,
        diversity=diversity,
        smoothing=smoothing,
    )
    check_images(images)
    images = images.contiguous(memory_format=torch.channels_last)
    begin = resolve_start(given.start)
    if isinstance(generator, Sequence):
        generator = per_image(generator, len(images))
        first = start_each(begin, images, eps, generator)
    else:
        first = begin(images, eps, generator)
    return ascend(
        images,
        _objective(extractor, images, given, generator, amp),
        eps=eps,
        steps=given.steps,
        step_size=given.step_size,
        start=first,
        momentum=given.momentum,
        smooth=smoother(gaussian_kernel(given.smoothing)) if given.smoothing else None,
        callback=callback,
    )


def _objective(
    extractor: FeatureExtractor, images: Tensor, plan: SspSettings, generator: Source, amp: Amp
) -> Objective:
    if not plan.diversity:
        return away(extractor, images, plan.distance, amp=amp)
    each = [
        away(extractor, image, plan.distance, input_diversity(image, plan.diversity, draws), amp)
        for image, draws in zip(
            torch.split(images, 1), per_image(generator, len(images)), strict=True
        )
    ]

    def objective(batch: Tensor) -> Tensor:
        pairs = zip(each, torch.split(batch, 1), strict=True)
        return torch.cat([value(image) for value, image in pairs])

    return objective


class SSP:
    """SSP with its surrogate and settings kept, for many batches.

    >>> attack = SSP(eps=8 / 255, seed=0)  # doctest: +SKIP
    >>> adversarial = attack(images)  # doctest: +SKIP

    Args:
        surrogate: A feature extractor, or a name that
            :func:`nrpurify.models.features.feature_extractor` takes.
        layer: Where distortion is measured; by default the preset's layer in a VGG16.
        eps: L∞ budget in (0, 1].
        preset: ``paper`` or ``authors``.
        seed: Start of the generator that serves all calls.
        amp: As in :func:`ssp`.
        changes: Settings that override the preset, as in :func:`ssp`.
    """

    def __init__(
        self,
        surrogate: str | FeatureExtractor = "vgg16",
        layer: str | None = None,
        *,
        eps: Eps = 16 / 255,
        preset: str = "paper",
        seed: int = 0,
        amp: Amp = False,
        **changes: Any,
    ) -> None:
        self.eps, self.preset, self.amp, self.changes = eps, preset, amp, changes
        self.settings = settings(preset, **changes)
        if isinstance(surrogate, str):
            layer = layer or default_layer(surrogate, self.settings)
            surrogate = feature_extractor(surrogate, layer)
        self.extractor = surrogate
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor, callback: Callback | None = None) -> Tensor:
        """Attack N×3×H×W images in [0, 1]; see :func:`ssp`."""
        return ssp(
            self.extractor.to(images.device),
            images,
            eps=self.eps,
            preset=self.preset,
            generator=self.generator,
            amp=self.amp,
            callback=callback,
            **self.changes,
        )
