"""Forward passes of classifiers under attack: logits, predictions and features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.surrogate import Model, classify
from nrpurify.attacks.wrappers import EOT
from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp, at_least_fp32, autocast
from nrpurify.core.scale import enlarged
from nrpurify.models.features import FeatureExtractor, Hook, check_layers, this_thread_only

Transform = Callable[[Tensor], Tensor]
"""Maps one image 1×3×H×W to 1×3×H'×W'."""


def groups(inputs: Sequence[Tensor]) -> list[list[int]]:
    """Which of the N inputs, each 1×3×H×W, go through a model together.

    Which of them have one shape, or are still attacked, depends on the others. So in fp32 on the
    CPU each goes alone: kernels round by batch size, and signs would flip. Elsewhere those of one
    shape go together.
    """
    if inputs[0].device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return [[index] for index in range(len(inputs))]
    by_shape: dict[torch.Size, list[int]] = {}
    for index, one in enumerate(inputs):
        by_shape.setdefault(one.shape, []).append(index)
    return list(by_shape.values())


def forward_in_batches(function: Model, inputs: Sequence[Tensor], amp: Amp = False) -> Tensor:
    """``function`` of N inputs, each 1×3×H×W, whose sizes may differ; N rows in their order."""
    with autocast(inputs[0].device, amp):
        parts = groups(inputs)
        answers = [function(torch.cat([inputs[index] for index in part])) for part in parts]
    order = torch.tensor([index for part in parts for index in part], device="cpu")
    return torch.cat(answers)[order.argsort()]


def forward(function: Model, images: Tensor, amp: Amp = False) -> Tensor:
    """``function`` of N×3×H×W images that always go through it together; N rows."""
    with autocast(images.device, amp):
        return function(images)


def logits(model: Model, images: Tensor) -> Tensor:
    """Logits N×draws×classes of N×3×H×W images; one draw except from :class:`EOT`."""
    return at_least_fp32(
        model.each(images) if isinstance(model, EOT) else classify(model, images)[:, None]
    )


def cross_entropy(
    model: Model,
    criterion: Criterion,
    diversity: Callable[[], Iterable[Transform]] | None = None,
    amp: Amp = False,
) -> Objective:
    """The objective of a :class:`~nrpurify.attacks.losses.Criterion`.

    Args:
        model: The surrogate.
        criterion: What is to grow.
        diversity: Draws one transformation an image at each step.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
    """

    def objective(images: Tensor) -> Tensor:
        if diversity is None:
            return criterion.loss(forward(lambda batch: logits(model, batch), images, amp))
        pairs = zip(diversity(), torch.split(images, 1), strict=True)
        inputs = [draw(one) for draw, one in pairs]

        def answer(batch: Tensor) -> Tensor:
            with enlarged(images, batch):
                return logits(model, batch)

        return criterion.loss(forward_in_batches(answer, inputs, amp))

    return objective


@torch.no_grad()
def predict(model: Model, images: Tensor, amp: Amp = False) -> Tensor:
    """The N classes that the model predicts for N×3×H×W images."""
    return forward(lambda batch: logits(model, batch), images, amp).mean(1).argmax(1)


Features = FeatureExtractor | str | Iterable[str]
Calls = list[tuple[Tensor, int]]
"""The outputs of all calls of all layers in one forward pass, each with images in its rows, and
over how many passes of an image to take the mean."""


@dataclass(frozen=True)
class FeatureHooks:
    """A classifier with the layers, or the extractor, whose features count.

    Attributes:
        model: The classifier.
        layers: Names of layers of it; empty with an extractor.
        extractor: A network of its own for the features.
    """

    model: Model
    layers: tuple[str, ...]
    extractor: FeatureExtractor | None = None

    @classmethod
    def of(cls, model: Model, features: Features | None) -> FeatureHooks:
        """From an extractor, from layer names, or from all convolutions of the model.

        Raises:
            InputError: No such layer, or no way to look one up.
        """
        if isinstance(features, FeatureExtractor):
            return cls(model, (), features)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"the surrogate is a {type(model).__name__}, in which no layer can be looked up; "
                "expected a module, or a feature extractor as features"
            )
        if features is None:
            features = _convolutions(model)
        layers = (features,) if isinstance(features, str) else tuple(features)
        check_layers(model, layers)
        return cls(model, layers)

    @property
    def eot_samples(self) -> int:
        """Number of draws of each image in the features."""
        return self.model.eot_samples if isinstance(self.model, EOT) and self.layers else 1

    @property
    def num_passes(self) -> tuple[int, ...]:
        """Number of passes of each image that a defense sends through each layer."""
        return tuple(_passes(self.model, layer) for layer in self.layers)

    def __call__(self, images: Tensor) -> tuple[Tensor, Calls]:
        """Logits N×draws×classes, and the outputs of all calls of all layers.

        Behind several passes images are to be asked one by one: they come in calls of their own.
        """
        images = images.contiguous()  # a model that is asked again would be recorded twice
        if self.extractor is not None:
            return logits(self.model, images), [(found, 1) for found in self.extractor(images)]
        with _recorded(self.model, zip(self.layers, self.num_passes, strict=True)) as calls:
            return logits(self.model, images), calls


def _passes(model: Model, layer: str) -> int:
    """Of all that stands around the layer and asks its ``model`` so often, as ``Protected``."""
    assert isinstance(model, nn.Module)
    names = layer.split(".")
    around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
    asking = [module for module in around if hasattr(module, "model")]
    return math.prod(int(getattr(module, "passes", 1)) for module in asking)


def _convolutions(model: nn.Module) -> list[str]:
    found = [n for n, module in model.named_modules() if n and isinstance(module, nn.Conv2d)]
    if not found:
        raise InputError(
            "the surrogate has no convolution whose features could be compared; name layers of it"
        )
    return found


@contextmanager
def _recorded(model: Model, layers: Iterable[tuple[str, int]]) -> Iterator[Calls]:
    assert isinstance(model, nn.Module)
    calls: Calls = []

    def keep(times: int) -> Hook:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            calls.append((output, times))
            return output.clone()  # the next module may work in place

        return this_thread_only(hook)

    handles = [
        model.get_submodule(name).register_forward_hook(keep(times)) for name, times in layers
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
