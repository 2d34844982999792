"""Classifiers by spec, such as ``timm:resnet50:size=256`` or ``file.py:build``, and the user's own.

A spec is a name and settings, ``NAME[:SETTING=VALUE,...]``. A name is a registered one,
``timm:NAME``, ``torchvision:NAME``, ``python:package.module:function``,
``path/to/file.py:function`` or an ONNX file, ``path/to/model.onnx`` or ``onnx:FILE``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify import weights
from nrpurify.core.callables import as_module
from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Channels, find_preprocessing
from nrpurify.core.registry import MISSING, Entry, Setting
from nrpurify.core.spec import convert, parse_fraction, parse_one
from nrpurify.models.classifier import Classifier
from nrpurify.models.factories import Source, find_source, ready
from nrpurify.models.heads import RIDGE, RIDGE_SIDE, load_head
from nrpurify.models.registry import VICTIMS
from nrpurify.models.state import load_checkpoint
from nrpurify.models.zoo import timm_classifier, torchvision_classifier


def _onnx(file: str, *, bgr: bool = False, output: str = "") -> Classifier:
    from nrpurify.models.onnx import onnx_classifier  # onnxruntime is an extra

    return onnx_classifier(file, bgr=bgr, output=output)


_LIBRARIES: dict[str, Callable[..., Classifier]] = {
    "timm": timm_classifier,
    "torchvision": torchvision_classifier,
    "onnx": _onnx,
}
COMMON = ("mean", "std", "size", "checkpoint")
"""Settings of all specs, unless the factory has a parameter of the name."""


def names() -> list[str]:
    """Return the names of the registered classifiers; the built-in ones need no model hub."""
    return VICTIMS.names()


def load_classifier(
    model: str | Callable[[Tensor], Tensor],
    *,
    pretrained: bool = True,
    device: torch.device | str | None = None,
) -> Classifier:
    """Return a classifier, in eval mode, without weight gradients.

    Args:
        model: A spec: one of :func:`names`, ``timm:NAME``, ``torchvision:NAME`` or
            ``torchvision:NAME.ENTRY`` with one of torchvision's entries of weights,
            ``python:package.module:function``, ``path/to/file.py:function`` or an ONNX file,
            ``path/to/model.onnx`` or ``onnx:FILE``, with settings behind a colon.
            All have ``mean`` and ``std`` (one number, or three in double quotes),
            ``size`` in pixels and ``checkpoint``, a file of safetensors or of ``torch.save``;
            libraries have ``pretrained``, ``num_classes`` and, torchvision, ``weights``;
            a function has its own parameters. It returns a model from images to logits, or that and
            a :class:`nrpurify.weights.Preprocessing`. Instead of a spec, any module or function.
        pretrained: False gives random weights and touches neither cache nor network.
        device: Where to put it; None leaves it on the CPU.

    Raises:
        InputError: there is no such name or setting; near matches are named.
        MissingExtraError: the library that has it is not installed.
        PluginError: a user's function failed.
        WeightsError: the weights could not be fetched, or a file does not fit.

    Examples:
        >>> classifier = nrpurify.load_classifier("squeezenet1_1", pretrained=False)
        >>> classifier(torch.rand(1, 3, 227, 227)).shape
        torch.Size([1, 1000])
    """
    if not isinstance(model, str):
        return as_classifier(model).to(device)
    classifier, source = _from_spec(model, pretrained)
    return ready(classifier, device, foreign=source.is_foreign)


def _from_spec(spec: str, pretrained: bool) -> tuple[Classifier, Source]:
    link = parse_one(spec, "victim")
    source = _find(link.name)
    entry = source.entry
    common = {
        key: text
        for key, text in link.settings.items()
        if key in COMMON and key not in entry.settings
    }
    texts = {key: text for key, text in link.settings.items() if key not in common}
    settings = entry.converted(texts) if texts else {}
    if "pretrained" in entry.settings:
        settings.setdefault("pretrained", pretrained and "checkpoint" not in common)
        settings["pretrained"] &= pretrained
    classifier = _as_named(entry.make(**settings), spec, source)
    classifier = _changed(classifier, common)
    if "checkpoint" in common and pretrained:
        load_checkpoint(classifier.network, Path(common["checkpoint"]), spec)
    return classifier, source


def spec_settings(name: str) -> dict[str, Setting]:
    """The settings that a spec may name: the parameters of what makes the classifier, and more.

    Args:
        name: A registered one, ``timm:NAME``, ``torchvision:NAME`` or ``FILE.onnx``.
    """
    own = _find(name).entry.settings
    return {**own, **{common: Setting(common, MISSING) for common in COMMON if common not in own}}


def _find(name: str) -> Source:
    """What makes the classifier of a name."""
    if name.endswith(".onnx") and not name.startswith("onnx:"):
        name = f"onnx:{name}"
    if name not in VICTIMS and name in weights.names():
        raise InputError(_without_classes(name))
    source = find_source(name, VICTIMS, _LIBRARIES, "classifier")
    if name in VICTIMS and source.entry.is_own:
        return Source(Entry(name, partial(_built_in, source.entry)))
    return source


def _without_classes(name: str) -> str:
    """Why a body is no victim, and what it can be used for."""
    instead = f"take {name}{RIDGE}, which has a head, or " if name + RIDGE in VICTIMS else ""
    return f"{name} is a network without classes; {instead}give it to ssp as the surrogate"


def _built_in(entry: Entry[Any], *, pretrained: bool = True) -> Classifier:
    """A network of this package with the weights of the same name."""
    name = entry.name
    with torch.random.fork_rng(devices=[], enabled=pretrained):  # its first weights are replaced
        network = entry.factory()
    body = name.removesuffix(RIDGE)
    expected = weights.get(body).preprocessing
    if body != name:
        expected = replace(expected, size=RIDGE_SIDE)
    if pretrained:
        network.load_state_dict(weights.load(name) if body == name else _with_head(body))
    return Classifier(
        network, name=name, num_classes=1000, preprocessing=expected, fixed_size=False
    )


def _with_head(body: str) -> dict[str, Tensor]:
    return {f"body.{key}": value for key, value in weights.load(body).items()} | load_head(body)


def _as_named(made: Any, spec: str, source: Source) -> Classifier:
    """What a factory returned, as a classifier that is called by its spec."""
    model, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not callable(model) or isinstance(model, type):
        raise InputError(
            f"{spec} returned a {type(made).__name__}; expected a model, or a model and its "
            "Preprocessing"
        )
    if isinstance(model, Classifier):
        classifier = model
        if preprocessing is not None:
            raise InputError(f"{spec} returned a Classifier, which normalizes itself, and more")
        classifier.name = spec
    else:
        classifier = as_classifier(model, name=spec, preprocessing=preprocessing, check=False)
    if source.is_foreign:
        classifier.origin, classifier.source_sha256 = source.entry.origin, source.sha256
    return classifier


def _changed(classifier: Classifier, given: Mapping[str, str]) -> Classifier:
    """The classifier with another mean, std or size."""
    name = classifier.name
    for key in ("mean", "std"):
        if key in given:
            values = torch.tensor(_channels(name, key, given[key]))
            getattr(classifier, key).copy_(values.view(3, 1, 1))
    if not (classifier.std > 0).all():
        raise InputError(f"{name}: std is {given['std']!r}; expected numbers above 0")
    if "size" in given:
        size = convert(name, "size", given["size"], 1)
        if size < 1:
            raise InputError(f"{name}: size is {size}; expected at least 1 pixel")
        classifier.input_size = size
    return classifier


def _channels(name: str, key: str, text: str) -> list[float]:
    try:
        numbers = [parse_fraction(part) for part in text.replace(",", " ").split()]
    except (ValueError, ZeroDivisionError, OverflowError):
        numbers = []
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise InputError(
            f'{name}: {key} is {text!r}; expected one number, or three as {key}="0.5,0.5,0.5"'
        )
    return numbers * 3 if len(numbers) == 1 else numbers


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
        classifier.training = network.training  # not train(), which reaches the network's parts
        return classifier
    return classifier.eval().requires_grad_(False)


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 English names of ImageNet-1k in the order of the logits, such as ``Samoyed``."""
    text = resources.files("nrpurify.models").joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def class_name(index: int, classes: int) -> str:
    """ImageNet's name of one of 1000 classes, else its number."""
    return imagenet_classes()[index] if classes == 1000 else f"class {index}"
