"""Feature extractors F of Eq. 1: a frozen network that stops at the layers that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import get_ident

import torch
from torch import Tensor, nn

from nrpurify import weights
from nrpurify.core.errors import InputError
from nrpurify.core.precision import weights_dtype
from nrpurify.core.preprocessing import Normalize
from nrpurify.core.registry import near_matches
from nrpurify.models.registry import BODIES


class FeatureExtractor(nn.Module):
    """The internal representation of images at one or several layers (Eq. 1, F(x; θ)|n).

    Nothing behind the last of the layers is computed. The network is frozen and in eval mode and
    stays so: ``train()`` does not reach it.

    Args:
        network: Any module. Its own children or, dotted, any submodule can be a layer.
        layers: One layer name or several.
        normalize: Applied to images in [0, 1] first; ``None`` when ``network`` does it itself.

    Raises:
        InputError: A layer does not exist; near matches are named.

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> (features,) = nrpurify.FeatureExtractor(network, "1")(torch.rand(1, 3, 8, 8))
        >>> features.shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(
        self, network: nn.Module, layers: str | Iterable[str], normalize: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        check_layers(network, self.layers)
        self.normalize = (normalize or nn.Identity()).eval()
        self.network = network.eval().requires_grad_(False)
        self.training = False
        self._is_chain = type(network).forward is nn.Sequential.forward and not any(
            "." in name for name in self.layers
        )

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in eval mode, whatever ``mode`` is."""
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of N×3×H×W images in [0, 1], one N×... tensor a layer, in the layers' order."""
        images = self.normalize(images.to(weights_dtype(self.network, images)))
        found = self._forward_chain(images) if self._is_chain else self._forward_hooked(images)
        missing = [name for name in self.layers if name not in found]
        if missing:
            raise InputError(
                f"layer {missing[0]!r} has no part in the network's forward pass; expected one "
                "that is called"
            )
        return tuple(found[name] for name in self.layers)

    def _forward_chain(self, x: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.network, nn.Sequential)
        found: dict[str, Tensor] = {}
        for name, module in _pool_first(self.network, self.layers):
            x = module(x)
            if name in self.layers:
                found[name] = x
                if len(found) == len(set(self.layers)):
                    break
                x = x.clone()  # the next module may work in place
        return found

    def _forward_hooked(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        handles = [
            self.network.get_submodule(name).register_forward_hook(
                _keep_output(found, name, len(set(self.layers)))
            )
            for name in self.layers
        ]
        try:
            self.network(x)
        except _AllFound:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return found


def _pool_first(chain: nn.Sequential, layers: tuple[str, ...]) -> list[tuple[str, nn.Module]]:
    """The modules of a chain in the order in which they are computed.

    Max pooling goes before the ReLU in front of it where neither is one of ``layers``. Values and
    gradients stay the same, and the ReLU has fewer values to look at.
    """
    order = [(name, module) for name, module in chain._modules.items() if module is not None]
    for index in range(1, len(order)):
        (name, module), (next_name, pool) = order[index - 1], order[index]
        commute = isinstance(module, nn.ReLU) and isinstance(pool, nn.MaxPool2d)
        if commute and not pool.return_indices and not {name, next_name} & set(layers):
            order[index - 1], order[index] = order[index], order[index - 1]
    return order


class _AllFound(BaseException):  # a signal that no `except Exception` of a user's model takes
    """Every layer that was asked for has been computed."""


def _keep_output(found: dict[str, Tensor], name: str, wanted: int) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise InputError(
                f"the layer {name!r} returned a {type(output).__name__}; expected a tensor: choose "
                "a layer inside or behind it"
            )
        found[name] = output
        if len(found) == wanted:
            raise _AllFound
        return output.clone()  # the next module may work in place

    return this_thread_only(hook)


Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


def this_thread_only(hook: Hook) -> Hook:
    """A forward hook that ignores calls from other threads, which use the same network."""
    owner = get_ident()

    def filtered(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return hook(module, inputs, output) if get_ident() == owner else None

    return filtered


def check_layers(network: nn.Module, layers: tuple[str, ...]) -> None:
    """Raise InputError unless every one of ``layers`` is a submodule of ``network``."""
    known = _layer_names(network)
    if not layers:
        raise InputError(f"no layer given; {near_matches('', known)}")
    for layer in layers:
        if layer not in known:
            raise InputError(f"no layer {layer!r} in the network; {near_matches(layer, known)}")


def _layer_names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_modules(remove_duplicate=False) if name]


def features_of(extractor: Callable[[Tensor], object], images: Tensor) -> tuple[Tensor, ...]:
    """What an extractor gives for N×3×H×W images in [0, 1]: one N×... tensor a layer.

    Raises:
        InputError: It is a classifier, or something else that gives no tuple of features.
    """
    found = extractor(images) if callable(extractor) else None
    if not isinstance(found, list | tuple) or not all(isinstance(f, Tensor) for f in found):
        raise InputError(
            f"this attack works on features, and {type(extractor).__name__} gives none; expected a "
            "feature extractor: FeatureExtractor(model, 'LAYER') of your own model, or "
            "feature_extractor('vgg16')"
        )
    return tuple(found)


VGG16_BODIES = ("vgg16", "hed_vgg16")


def default_layer(name: str) -> str | None:
    """The layer at which a built-in extractor stops unless one is named; None for classifiers."""
    return str(BODIES.get(name).info["layer"]) if name in BODIES else None


def feature_extractor(
    name: str = "vgg16", layers: str | Iterable[str] | None = None, *, pretrained: bool = True
) -> FeatureExtractor:
    """Build a feature extractor by name.

    Args:
        name: ``vgg16`` (the paper's), ``alexnet``, ``hed_vgg16`` (an independent VGG16),
            ``squeezenet1_1``, ``centernet`` (a detector's MobileNetV3), ``mobilenet_v2``,
            ``xception``, ``mobilenet_v2_140``, ``resnet50_thin`` and the middle of
            ``inception_v3`` (content filters'), ``vit_s`` (a saliency model's, features are tokens
            N×T×384), all of which take images of any size as they are, or another name that
            :func:`nrpurify.models.load_classifier` takes, with its resize to a fixed size.
        layers: Layer names; by default the paper's conv3_3 (its side before the ReLU), AlexNet's
            conv3, SqueezeNet's fire5, MobileNetV3's blocks.11, the blocks.12 of MobileNetV2 and
            ResNet-50, Xception's blocks.10, ViT's blocks.8 or Inception's
            blocks.7. Other classifiers have none.
        pretrained: ``False`` gives random weights and touches neither cache nor network.

    Raises:
        InputError: No such network or layer.
        WeightsError: The weights could not be found or downloaded.

    Examples:
        >>> extractor = nrpurify.feature_extractor("alexnet", "conv2", pretrained=False)
        >>> (features,) = extractor(torch.rand(1, 3, 64, 64))
        >>> features.shape[1]
        192
    """
    from nrpurify import models

    layers = layers or default_layer(name)
    if name not in BODIES and name not in models.names() and ":" not in name:
        raise InputError(
            f"there is no network {name!r}; expected one of {', '.join(BODIES.names())}; or, with "
            f"a layer, {', '.join(models.names())}, timm:NAME or torchvision:NAME"
        )
    if layers is None:
        network = models.load_classifier(name, pretrained=False)
        raise InputError(
            f"no layer given for {name!r} (--layer, in a plan layer); "
            f"{near_matches('', _layer_names(network))}"
        )
    if name not in BODIES:
        return FeatureExtractor(models.load_classifier(name, pretrained=pretrained), layers)
    with torch.random.fork_rng(devices=[], enabled=pretrained):  # its first weights are replaced
        body = BODIES.get(name).make()
    if pretrained:
        body.load_state_dict(weights.load(name))
    expected = weights.get(name).preprocessing
    normalize = Normalize(expected.mean, expected.std, bgr=expected.bgr)
    body.to(memory_format=torch.channels_last)
    return FeatureExtractor(body, layers, normalize)
