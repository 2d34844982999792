"""Attacks by name, made ready for batches of labeled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, nn

from nrpurify.attacks import registry
from nrpurify.attacks.ensemble import Ensemble
from nrpurify.attacks.runner import Perturb
from nrpurify.attacks.ssp import default_layer
from nrpurify.attacks.ssp import settings as ssp_settings
from nrpurify.attacks.trained import LOADERS
from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp
from nrpurify.models import features


def settings_in_force(name: str, preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's settings with ``given`` over them.

    Raises:
        InputError: No such attack or preset.
    """
    return {**registry.get(name).in_force(preset), **given}


def load_surrogate(
    attack: str,
    names: Sequence[str],
    layers: Sequence[str],
    preset: str,
    load: Callable[[str], nn.Module],
    trained: str | Path = "",
) -> nn.Module | Tensor | None:
    """What an attack looks at: a feature extractor, a classifier or an ensemble, or nothing.

    Args:
        attack: Name of the attack.
        names: One network, or several for an ensemble; none for SSP's VGG16.
        layers: Of the feature extractor.
        preset: Names the layer when none is given.
        load: Loads a classifier by name.
        trained: File of a generator (cda) or pattern (fff); empty for the shipped one.

    Raises:
        InputError: No such attack, network or layer.
        WeightsError: Weights are not to be had.
    """
    kind = registry.get(attack).surrogate
    if trained and attack in LOADERS:
        return LOADERS[attack](trained)
    if kind == "features":
        name = next(iter(names), "vgg16")
        chosen = layers or default_layer(name, ssp_settings(preset))
        return features.feature_extractor(name, chosen)
    if kind == "none" or not names:
        return None
    loaded = [load(name) for name in names]
    return loaded[0] if len(loaded) == 1 else Ensemble(*loaded)


def perturber(
    attack: str,
    model: nn.Module | Tensor | None,
    *,
    eps: float,
    preset: str = "paper",
    amp: Amp = False,
    layers: Sequence[str] = (),
    use_labels: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Perturb:
    """The attack as a function of a batch.

    Args:
        attack: Name of the attack.
        model: What it attacks, see :func:`load_surrogate`.
        eps: L∞ budget in (0, 1].
        preset: ``paper`` or ``authors``.
        amp: bf16 autocast of the attack.
        layers: Of a classifier whose features are attacked too (tap).
        use_labels: False: away from what ``model`` itself says of the clean images.
        settings: Override the preset.

    Raises:
        InputError: No such attack, or a setting that it does not have; when called, whatever the
            attack refuses.
    """
    entry = registry.get(attack)
    given = dict(settings or {})
    if unknown := sorted(given.keys() - set(entry.settings)):
        known = ", ".join(entry.settings)
        raise InputError(f"{attack} has no setting {unknown[0]!r}; it has {known}")
    if layers and "features" in entry.settings:
        given["features"] = tuple(layers)

    def perturb(images: Tensor, labels: Tensor | None, generators: Sequence[Generator]) -> Tensor:
        return entry.function(
            model,
            images,
            labels if use_labels else None,
            eps=eps,
            preset=preset,
            generator=generators,
            amp=amp,
            **given,
        )

    return perturb
