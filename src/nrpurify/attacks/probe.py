"""A classifier that is asked for logits and features at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from nrpurify.attacks.adaptive import EOT
from nrpurify.attacks.logits import ask
from nrpurify.attacks.surrogate import Model
from nrpurify.core.errors import InputError
from nrpurify.models.features import FeatureExtractor, Hook, check_layers, this_thread_only

Features = FeatureExtractor | str | Iterable[str]
Calls = list[tuple[Tensor, int]]
"""The outputs of all calls of all layers in one forward pass, each with images in its rows, and
over how many passes of an image to take the mean."""


@dataclass(frozen=True)
class Probe:
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
    def of(cls, model: Model, features: Features | None) -> Probe:
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
    def draws(self) -> int:
        """How many draws of each image the features hold."""
        return self.model.draws if isinstance(self.model, EOT) and self.layers else 1

    @property
    def passes(self) -> tuple[int, ...]:
        """How many passes of each image a defense sends through each layer."""
        return tuple(_passes(self.model, layer) for layer in self.layers)

    def __call__(self, images: Tensor) -> tuple[Tensor, Calls]:
        """Logits N×draws×classes, and the outputs of all calls of all layers.

        Behind several passes images are to be asked one by one: they come in calls of their own.
        """
        if self.extractor is not None:
            return ask(self.model, images), [(found, 1) for found in self.extractor(images)]
        with _recorded(self.model, zip(self.layers, self.passes, strict=True)) as calls:
            return ask(self.model, images), calls


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
