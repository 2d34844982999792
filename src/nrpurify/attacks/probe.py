"""A classifier that is asked for logits and features at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from nrpurify.attacks.adaptive import EOT
from nrpurify.attacks.logits import ask
from nrpurify.attacks.surrogate import Model
from nrpurify.errors import InputError
from nrpurify.features import FeatureExtractor, check_layers

Features = FeatureExtractor | str | Iterable[str]
Calls = list[Tensor]
"""The outputs of all calls of all layers in one forward pass, each with images in its rows."""


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

    def __call__(self, images: Tensor) -> tuple[Tensor, Calls]:
        """Logits N×draws×classes, and the outputs of all calls of all layers."""
        if self.extractor is not None:
            return ask(self.model, images), list(self.extractor(images))
        with _recorded(self.model, self.layers) as calls:
            return ask(self.model, images), calls


def _convolutions(model: nn.Module) -> list[str]:
    found = [n for n, module in model.named_modules() if n and isinstance(module, nn.Conv2d)]
    if not found:
        raise InputError(
            "the surrogate has no convolution whose features could be compared; name layers of it"
        )
    return found


@contextmanager
def _recorded(model: Model, layers: Iterable[str]) -> Iterator[Calls]:
    assert isinstance(model, nn.Module)
    calls: Calls = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append(output)
        return output.clone()  # the next module may work in place

    handles = [model.get_submodule(name).register_forward_hook(hook) for name in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
