"""SSP, the Self-supervised Perturbation: Algorithm 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.feature_losses import feature_distortion, input_diversity
from nrpurify.attacks.gradient import Callback, Objective
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.starts import Start, resolve_start
from nrpurify.core.precision import Amp
from nrpurify.models.features import VGG16_BODIES, FeatureExtractor, feature_extractor


@register_attack("ssp", source="Naseer et al., 2020", needs="features")
class SelfSupervisedPerturbation(GradientAttack):
    """Perturb images so that their deep features move away from the clean ones (Algorithm 1).

    ``model`` is the feature extractor F; its layer or layers decide where distortion is measured.
    ``labels`` are ignored. The callback gets the feature distances. ``paper`` follows the text (κ
    is not given there), ``authors`` the published script.

    Attributes:
        layer: VGG16's layer when no extractor is given.
        distance: Δ of Eq. 1, a name in :data:`nrpurify.models.feature_distances.DISTANCES`.
        start: R of Algorithm 1, a name in :data:`nrpurify.attacks.starts.STARTS` or a callable.
        steps: T, number of iterations.
        step_size: κ, in units of [0, 1] images; by default 0.01, in ℓ2 2.5 eps / steps.
        momentum: Decay of accumulated gradients, 0 for none (not in the paper).
        diversity: Probability of an input-diversity draw at each step, 0 for none (not in it).
        smoothing: Size of the Gaussian filter of the gradient, 0 for none (not in it).

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
        >>> extractor = nrpurify.FeatureExtractor(network, "0")
        >>> nrpurify.ssp(extractor, torch.rand(1, 3, 16, 16), eps=8 / 255, steps=3).shape
        torch.Size([1, 3, 16, 16])
    """

    presets: ClassVar = {"authors": {"layer": "relu3_3", "distance": "mse", "start": "gaussian"}}

    layer: str = "conv3_3"
    distance: str = "mae"
    start: str | Start = "uniform"
    steps: int = 100
    step_size: Eps | None = None
    linf_step = 0.01
    momentum: float = 0.0
    diversity: float = 0.0
    smoothing: int = 0

    def first(self, problem: AttackProblem) -> Tensor:
        """The start; one generator is drawn from image after image."""
        begin = resolve_start(self.start)
        if isinstance(problem.source, Sequence):
            return problem.start(begin)
        return begin(problem.clean, problem.radii, problem.source)

    def objective(self, problem: AttackProblem) -> Objective:
        """The distance from the clean features."""
        extractor, amp = problem.model, problem.amp
        if not self.diversity:
            return feature_distortion(extractor, problem.clean, self.distance, amp=amp)
        each = [
            feature_distortion(
                extractor,
                image,
                self.distance,
                input_diversity(image, self.diversity, generator),
                amp,
            )
            for image, generator in zip(
                torch.split(problem.clean, 1), problem.generators, strict=True
            )
        ]

        def objective(batch: Tensor) -> Tensor:
            pairs = zip(each, torch.split(batch, 1), strict=True)
            return torch.cat([value(image) for value, image in pairs])

        return objective


def default_layer(surrogate: str, attack: SelfSupervisedPerturbation) -> str | None:
    """The attack's layer in a VGG16; None, the network's own default, elsewhere."""
    return attack.layer if surrogate in VGG16_BODIES else None


ssp = functional(SelfSupervisedPerturbation)


class SSP:
    """SSP with its surrogate and settings kept, for many batches.

    Args:
        surrogate: A feature extractor, or a name that
            :func:`nrpurify.models.features.feature_extractor` takes.
        layer: Where distortion is measured; by default the preset's layer in a VGG16.
        eps: Budget, in (0, 1] for ℓ∞.
        norm: ``linf`` or ``l2``.
        preset: ``paper`` or ``authors``.
        seed: Start of the generator that serves all calls.
        amp: As in :func:`ssp`.
        changes: Settings that override the preset, as in :func:`ssp`.

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
        >>> extractor = nrpurify.FeatureExtractor(network, "0")
        >>> attack = nrpurify.SSP(extractor, eps=8 / 255, steps=3, seed=0)
        >>> images = torch.rand(2, 3, 16, 16)
        >>> bool((attack(images) - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    def __init__(
        self,
        surrogate: str | FeatureExtractor = "vgg16",
        layer: str | None = None,
        *,
        eps: Eps = 16 / 255,
        norm: str = "linf",
        preset: str = "paper",
        seed: int = 0,
        amp: Amp = False,
        **changes: Any,
    ) -> None:
        self.eps, self.norm, self.amp = eps, norm, amp
        self.attack = SelfSupervisedPerturbation.create(preset, **changes)
        if isinstance(surrogate, str):
            layer = layer or default_layer(surrogate, self.attack)
            surrogate = feature_extractor(surrogate, layer)
        self.extractor = surrogate
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def settings(self) -> SelfSupervisedPerturbation:
        """The settings in force."""
        return self.attack

    def __call__(self, images: Tensor, callback: Callback | None = None) -> Tensor:
        """Attack N×3×H×W images in [0, 1]; see :func:`ssp`."""
        return self.attack(
            self.extractor.to(images.device),
            images,
            eps=self.eps,
            norm=self.norm,
            generator=self.generator,
            amp=self.amp,
            callback=callback,
        )
