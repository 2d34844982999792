"""Any classifier of timm or torchvision by name, with the preprocessing it was trained with."""

from typing import Any

from torch import nn

from nrpurify.core.errors import InputError, MissingExtraError, WeightsError
from nrpurify.core.registry import near_matches
from nrpurify.models.classifier import Classifier
from nrpurify.weights import Preprocessing

NO_HUB = "one of the classifiers that need no hub (nrpurify weights list)"


def _offline(name: str, error: Exception, instead: str) -> WeightsError:
    return WeightsError(
        f"the pretrained weights of {name} could not be fetched: {type(error).__name__}: {error}; "
        f"check the connection, or use {instead}"
    )


def timm_classifier(name: str, *, pretrained: bool = True, num_classes: int = 0) -> Classifier:
    """Build timm's model ``name``; mean, std and size come from its pretrained configuration.

    Args:
        name: As timm spells it.
        pretrained: With timm's weights.
        num_classes: Of a new head; 0 keeps the model's own.

    Raises:
        MissingExtraError: timm is not installed.
        InputError: timm has no such model; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "models") from error
    if not timm.is_model(name):
        hint = near_matches(name, timm.list_models())
        raise InputError(f"timm has no model {name!r}; {hint}")
    try:
        more: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **more)
    except Exception as error:
        if not pretrained:
            raise
        raise _offline(f"timm:{name}", error, NO_HUB) from error
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return Classifier(
        network,
        name=f"timm:{name}",
        num_classes=num_classes or config["num_classes"],
        preprocessing=Preprocessing(config["mean"], config["std"], size=config["input_size"][-1]),
        fixed_size=bool(config.get("fixed_input_size", False)),
    )


def torchvision_network(
    name: str, kind: str, instead: str, *, pretrained: bool, family: str = "", **options: Any
) -> tuple[nn.Module, Any]:
    """Build torchvision's model ``name``.

    Args:
        name: As torchvision spells it, or ``NAME.ENTRY`` with one of its entries of weights, such
            as ``resnet152.IMAGENET1K_V1``; without an entry torchvision's default counts.
        kind: What errors call it, such as ``detector``.
        instead: What errors advise where the weights cannot be fetched.
        pretrained: With the weights of the entry.
        family: Module of ``torchvision.models`` that has it; empty for the classifiers.
        options: Further ones of ``torchvision.models.get_model``.

    Returns:
        The network, and the entry of its weights.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: torchvision has no such model or entry; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError("torchvision", "models") from error
    known = models.list_models(module=getattr(models, family) if family else models)
    model, _, entry = name.partition(".")
    if model not in known:
        raise InputError(f"torchvision has no {kind} {model!r}; {near_matches(model, known)}")
    weights = _entry(models.get_model_weights(model), model, entry)
    try:
        network: nn.Module = models.get_model(
            model, weights=weights if pretrained else None, **options
        )
    except Exception as error:
        if not pretrained:
            raise
        raise _offline(f"torchvision:{name}", error, instead) from error
    return network, weights


def _entry(entries: Any, model: str, entry: str) -> Any:
    """One of torchvision's entries of weights; the default where ``entry`` is empty."""
    names = [one.name for one in entries]
    if entry and entry not in names:
        raise InputError(
            f"torchvision's {model} has no weights {entry!r}; expected {' or '.join(names)}, or "
            f"{model} alone for {entries.DEFAULT.name}"
        )
    return entries[entry] if entry else entries.DEFAULT


def torchvision_classifier(
    name: str, *, pretrained: bool = True, weights: str = "", num_classes: int = 0
) -> Classifier:
    """Build torchvision's classifier ``NAME`` or ``NAME.ENTRY``; its weights tell mean and size.

    Args:
        name: As torchvision spells it.
        pretrained: With the weights of the entry.
        weights: The entry, in place of ``.ENTRY``; empty for torchvision's default.
        num_classes: Of an untrained network; 0 for those of the entry.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: torchvision has no such classifier or entry; near matches are named.
        WeightsError: the pretrained weights could not be fetched.
    """
    entry = f"{name}.{weights}" if weights else name
    more: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
    if more and pretrained:
        raise InputError(
            f"torchvision:{name}: num_classes is {num_classes}, and pretrained weights have their "
            "own; give pretrained=false or checkpoint=FILE with it"
        )
    network, found = torchvision_network(entry, "classifier", NO_HUB, pretrained=pretrained, **more)
    used = found.transforms()
    return Classifier(
        network,
        name=f"torchvision:{name}",
        num_classes=num_classes or len(found.meta["categories"]),
        preprocessing=Preprocessing(tuple(used.mean), tuple(used.std), size=used.crop_size[0]),
        fixed_size=name.startswith(("vit_", "swin", "maxvit")),
    )
