"""Classifiers by name, and the user's own."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from nrpurify import weights
from nrpurify.core.callables import as_module
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.preprocessing import Channels, find_preprocessing
from nrpurify.core.registry import near_matches
from nrpurify.models.classifier import Classifier
from nrpurify.models.detectors.mobilenet_v2 import MobileNetV2
from nrpurify.models.heads import Headed, load_head
from nrpurify.models.mobilenet_v1 import MobileNetV1
from nrpurify.models.resnet_thin import ResNet50Thin
from nrpurify.models.squeezenet import SqueezeNet
from nrpurify.models.xception import Xception
from nrpurify.models.zoo import timm_classifier, torchvision_classifier


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
    "mobilenet_v2_ridge": lambda: Headed(MobileNetV2(symmetric=True), 1280),
    "resnet50_thin_ridge": lambda: Headed(ResNet50Thin(), 1024),
    "xception_ridge": lambda: Headed(Xception(), 2048),
}
RIDGE = "_ridge"
"""Ends the names of bodies whose head is :mod:`nrpurify.models.heads`'s."""
RIDGE_SIDE = 224
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
    network, body = NETWORKS[name](), name.removesuffix(RIDGE)
    expected = weights.get(body).preprocessing
    if body == name:
        state = weights.load(name) if pretrained else None
    else:
        expected = replace(expected, size=RIDGE_SIDE)
        state = _with_head(body) if pretrained else None
    if state is not None:
        network.load_state_dict(state)
    return Classifier(
        network, name=name, num_classes=1000, preprocessing=expected, fixed_size=False
    )


def _with_head(body: str) -> dict[str, Tensor]:
    return {f"body.{key}": value for key, value in weights.load(body).items()} | load_head(body)


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


def as_classifier(
    model: Callable[[Tensor], Tensor],
    num_classes: int | None = None,
    *,
    name: str | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
    preprocessing: object | None = None,
    frozen: bool = True,
    check: bool = True,
) -> Classifier:
    """Wrap a user's own model: any callable from images N×3×H×W to logits N×C.

    >>> as_classifier(resnet50(weights=w), preprocessing=w)  # doctest: +SKIP
    >>> as_classifier(lambda x: vit(pixel_values=x).logits, mean=0.5, std=0.5)  # doctest: +SKIP

    Args:
        model: A module or function. A :class:`Classifier` is returned as it is.
        num_classes: C, checked at each call; None admits any.
        name: What reports call it; by default the name of its class or function.
        mean: What the model's input is normalized by, in units of [0, 1] and in the order of its
            channels: 3 numbers, or one for all.
        std: The same.
        preprocessing: In place of both, a :class:`nrpurify.weights.Preprocessing` (its ``size``
            counts too), or what :func:`nrpurify.core.preprocessing.read_preprocessing` takes: a
            transform or weights of torchvision, a data config or transform of timm, an image
            processor of transformers. Resize and crop before the call.
        frozen: Put ``model``, if it is a module, into eval mode and switch its weight gradients
            off; False leaves it as it is.
        check: Refuse images outside of [0, 1], see :class:`Classifier`.

    Raises:
        InputError: ``model`` cannot be called, or a normalization that cannot be used.
    """
    own = isinstance(preprocessing, weights.Preprocessing) and mean is None and std is None
    used = preprocessing if own else find_preprocessing(mean, std, preprocessing)
    if isinstance(model, Classifier):
        if used is not None:
            raise InputError(
                f"{model.name} is a Classifier, which normalizes its images itself; leave mean, "
                "std and preprocessing out"
            )
        return model
    network = as_module(model, "model")
    classifier = Classifier(
        network,
        name=name or str(getattr(model, "__name__", type(model).__name__)),
        num_classes=num_classes,
        preprocessing=used,  # type: ignore[arg-type]
        check=check,
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
