"""FIA, steps against the features that matter for the label (Wang et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.base import functional
from nrpurify.attacks.forward import Calls, FeatureHooks, Features
from nrpurify.attacks.gradient import NO_GRADIENT, Objective
from nrpurify.attacks.momentum import MomentumAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.surrogate import classify
from nrpurify.attacks.wrappers import EOT, Ensemble
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32, autocast

SHRINKING = 8
"""The default layer is the last one whose side is at least the input's over this."""


class FeatureImportance(MomentumAttack):
    """MI-FGSM down the sum of features, each weighted by its importance for the label.

    Subclasses choose the images whose gradients the importance is the mean of.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: A constant: the features are those of the image itself.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        features: Names of layers of the model; by default one in its middle, of each member.
        samples: Number of gradients whose mean is the importance.
    """

    features: Features | None = None
    samples: int = 30

    def __post_init__(self) -> None:
        """Refuse input diversity, which moves the features."""
        super().__post_init__()
        if self.diversity:
            raise InputError(
                f"diversity is {self.diversity}; {self.info.name} has none, expected 0"
            )

    def images(self, problem: AttackProblem) -> Iterable[Tensor]:
        """The images, each N×3×H×W in [0, 1], at which gradients are taken."""
        raise NotImplementedError

    def normalized(self, weights: Tensor, count: int) -> Tensor:
        """The weights of one layer, of ``count`` images, as they are used."""
        return weights

    def objective(self, problem: AttackProblem) -> Objective:
        """Minus the weighted sum of the features, N values that are to grow."""
        hooks = layer_hooks(problem, self.features)
        parts = split(problem.clean, hooks)
        found = (importance(problem, hooks, images) for images in self.images(problem))
        sums = reduce(_added, found)
        weights = [
            [self.normalized(one / self.samples, len(part)) for one in calls]
            for calls, part in zip(sums, parts, strict=True)
        ]

        def objective(images: Tensor) -> Tensor:
            parts = split(images, hooks)
            with autocast(images.device, problem.amp):
                answers = [hooks(part)[1] for part in parts]
            triples = zip(answers, weights, parts, strict=True)
            return -torch.cat([product(calls, known, len(part)) for calls, known, part in triples])

        return objective


@register_attack("fia", source="Wang et al., 2021", targeted=False)
class FIA(FeatureImportance):
    """MI-FGSM down the features that matter for the label, by gradients with pixels dropped.

    The importance of a feature is the mean gradient of the label's probability over copies of the
    image in which random values are set to 0, of length 1 an image. ``samples`` + ``steps``
    gradients an image. The paper derives the logit; its published code the probability, as here.
    The default layer is the last convolution of an eighth of the input's side, which is about the
    paper's in residual networks and Inception; VGG16's is conv3_3: give ``features``.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Has to be 0.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        features: Names of layers of the model; by default one in its middle, of each member.
        samples: Number of gradients whose mean is the importance.
        drop: Probability, in [0, 1), that a value is set to 0.

    Raises:
        InputError: A layer that does not exist, or a model in which none can be looked up.
    """

    drop: float = 0.3

    def __post_init__(self) -> None:
        """Check the probability too."""
        super().__post_init__()
        if not 0 <= self.drop < 1:
            raise InputError(f"drop is {self.drop}; expected a probability below 1")

    def images(self, problem: AttackProblem) -> Iterable[Tensor]:
        """Copies with dropped values."""
        for _ in range(self.samples):
            masks = [
                torch.rand(image.shape, generator=generator, device="cpu") >= self.drop
                for image, generator in zip(problem.clean, problem.generators, strict=True)
            ]
            yield problem.clean * torch.stack(masks).to(problem.clean)

    def normalized(self, weights: Tensor, count: int) -> Tensor:
        """Of length 1 an image."""
        rows = weights.reshape(count, -1)
        lengths: Tensor = rows.norm(dim=1, keepdim=True).clamp_min(1e-20)
        return (rows / lengths).view_as(weights)


def layer_hooks(problem: AttackProblem, features: Features | None) -> FeatureHooks:
    """Hooks of the layers given, or of one in the middle of each member.

    Raises:
        InputError: No such layer, no convolution, or no module.
    """
    if features is None and isinstance(problem.model, nn.Module):
        features = middle_layers(problem.model, problem.clean[:1])
    return FeatureHooks.of(problem.model, features)


@torch.no_grad()
def middle_layers(model: nn.Module, image: Tensor) -> list[str]:
    """Of each member of an ensemble the last convolution of an eighth of its input's side.

    Args:
        model: An :class:`~nrpurify.attacks.Ensemble`, also in an EOT, or one network.
        image: 1×3×H×W in [0, 1].
    """
    prefix, inner = ("model.", model.model) if isinstance(model, EOT) else ("", model)
    if not isinstance(inner, Ensemble):
        return [prefix + _middle(inner, image)]
    return [f"{prefix}models.{k}.{_middle(one, image)}" for k, one in enumerate(inner.models)]


def _middle(network: nn.Module, image: Tensor) -> str:
    sides: list[tuple[str, int, int]] = []

    def note(name: str) -> Any:
        return lambda module, inputs, output: sides.append(
            (name, inputs[0].shape[-2], output.shape[-2])
        )

    layers = [(n, part) for n, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    handles = [part.register_forward_hook(note(name)) for name, part in layers]
    try:
        classify(network, image.contiguous())
    finally:
        for handle in handles:
            handle.remove()
    if not sides:
        raise InputError(
            "the surrogate has no convolution to take features of; name layers of it (--layer)"
        )
    enough = [name for name, _, side in sides if side * SHRINKING >= sides[0][1]]
    return (enough or [sides[0][0]])[-1]


def split(images: Tensor, hooks: FeatureHooks) -> tuple[Tensor, ...]:
    """The images in parts that go through the network together: one by one behind many passes."""
    return torch.split(images, 1 if max(hooks.num_passes, default=1) > 1 else len(images))


def importance(problem: AttackProblem, hooks: FeatureHooks, images: Tensor) -> Slopes:
    """Gradients of the label's probability by the features, for each part and call."""
    found = []
    classes = torch.split(problem.goal.classes, [len(part) for part in split(images, hooks)])
    for part, known in zip(split(images, hooks), classes, strict=True):
        with torch.enable_grad(), autocast(images.device, problem.amp):
            answers, calls = hooks(part.detach().requires_grad_(True))
            problem.goal.check(answers.shape[2])
            chances = answers.softmax(2).mean(1).gather(1, known[:, None])
            if not chances.requires_grad:
                raise InputError(NO_GRADIENT)
            outputs = [output for output, _ in calls]
            slopes = torch.autograd.grad(chances.sum(), outputs, allow_unused=True)
        found.append(
            [
                torch.zeros_like(output) if slope is None else at_least_fp32(slope)
                for slope, output in zip(slopes, outputs, strict=True)
            ]
        )
    return found


Slopes = list[list[Tensor]]
"""Gradients by the features, for each part of the images and each call."""


def _added(first: Slopes, second: Slopes) -> Slopes:
    pairs = zip(first, second, strict=True)
    return [[a + b for a, b in zip(one, other, strict=True)] for one, other in pairs]


def product(calls: Calls, weights: list[Tensor], count: int) -> Tensor:
    """The sum of features times weights, over all calls, ``count`` values."""
    parts = [
        (at_least_fp32(x) * known).reshape(count, -1).sum(1) / passes
        for (x, passes), known in zip(calls, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)


fia = functional(FIA)
