"""Classifiers by name, and the user's own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nrpurify import weights
from nrpurify.errors import InputError, MissingExtraError
from nrpurify.models.classifier import Classifier
from nrpurify.models.mobilenet_v1 import MobileNetV1
from nrpurify.models.squeezenet import SqueezeNet
from nrpurify.models.zoo import near_matches, timm_classifier, torchvision_classifier


def _efficientnet_lite(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "models") from error
    network: nn.Module = timm.create_model(name, pretrained=False)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet_lite0": lambda: _efficientnet_lite("tf_efficientnet_lite0"),
    "efficientnet_lite1": lambda: _efficientnet_lite("tf_efficientnet_lite1"),
    "efficientnet_lite2": lambda: _efficientnet_lite("tf_efficientnet_lite2"),
    "squeezenet1_1": SqueezeNet,
    "mobilenet_v1_025": MobileNetV1,
}
_LIBRARIES = {"timm": timm_classifier, "torchvision": torchvision_classifier}


def names() -> list[str]:
    """Return the names of the classifiers whose weights need no model hub."""
    return list(NETWORKS)


def _own(name: str, *, pretrained: bool) -> Classifier:
    if name not in NETWORKS:
        raise InputError(
            f"there is no classifier {name!r}; {near_matches(name, NETWORKS)} "
            "Also: timm:NAME, torchvision:NAME"
        )
    network = NETWORKS[name]()
    if pretrained:
        network.load_state_dict(weights.load(name))
    return Classifier(
        network, name=name, num_classes=1000, preprocessing=weights.get(name).preprocessing
    )


def load_classifier(
    name: str, *, pretrained: bool = True, device: torch.device | str | None = None
) -> Classifier:
    """Return a classifier by name, in eval mode, without weight gradients.

    Args:
        name: One of :func:`names`, ``timm:NAME``, ``torchvision:NAME`` or
            ``torchvision:NAME.ENTRY`` with one of torchvision's entries of weights.
        pretrained: False gives random weights and touches neither cache nor network.
        device: Where to put it; None leaves it on the CPU.

    Raises:
        InputError: there is no such name; near matches are named.
        MissingExtraError: the library that has it is not installed.
        WeightsError: the weights could not be fetched.
    """
    library, _, rest = name.partition(":")
    if library in _LIBRARIES and rest:
        classifier = _LIBRARIES[library](rest, pretrained=pretrained)
    else:
        classifier = _own(name, pretrained=pretrained)
    return classifier.to(device).eval().requires_grad_(False)


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def as_classifier(
    model: Callable[[Tensor], Tensor],
    num_classes: int | None = None,
    *,
    name: str | None = None,
    preprocessing: weights.Preprocessing | None = None,
    frozen: bool = True,
) -> Classifier:
    """Wrap a user's own model: any callable from images N×3×H×W to logits N×C.

    Args:
        model: A module or function. A :class:`Classifier` is returned as it is.
        num_classes: C, checked at each call; None admits any.
        name: What reports call it; by default the name of its class or function.
        preprocessing: What ``model`` expects, if not images in [0, 1] of any size.
        frozen: Put ``model``, if it is a module, into eval mode and switch its weight gradients
            off; False leaves it as it is.

    Raises:
        InputError: ``model`` cannot be called.
    """
    if isinstance(model, Classifier):
        return model
    if not callable(model):
        raise InputError(f"a {type(model).__name__} was given; expected a callable or module")
    network = model if isinstance(model, nn.Module) else _Function(model)
    classifier = Classifier(
        network,
        name=name or str(getattr(model, "__name__", type(model).__name__)),
        num_classes=num_classes,
        preprocessing=preprocessing,
    )
    if not frozen:
        return classifier.train(network.training)
    return classifier.eval().requires_grad_(False)


def imagenet_classes() -> list[str]:
    """Return the 1000 English names of ImageNet-1k in the order of the logits.

    Raises:
        MissingExtraError: torchvision, which knows them, is not installed.
    """
    try:
        from torchvision.models import ResNet50_Weights
    except ImportError as error:
        raise MissingExtraError("torchvision", "models") from error
    return list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
