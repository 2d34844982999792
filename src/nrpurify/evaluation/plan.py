"""What an evaluation of labeled images is asked to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.groups import GROUP
from nrpurify.core.precision import Amp

VICTIMS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "mobilenet_v1_025",
)
"""Classifiers that no default attack sees; the shipped purifier saw one, SqueezeNet."""


Victim = str | Callable[[Tensor], Tensor]
"""A spec, or a model."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        victims: Specs for :func:`nrpurify.models.load_classifier`, or modules and functions from
            images to logits.
        surrogate: For ssp a name for :func:`nrpurify.models.features.feature_extractor`, ``None``
            for
            VGG16; attacks on classifiers need names for :func:`nrpurify.models.load_classifier`,
            with commas between for an ensemble.
        preset: The attack's preset.
        layer: The layer attacked (ssp, tap); ``None`` for VGG16's conv3_3, or the surrogate's own
            default.
        eps: Budget in (0, 1].
        steps: The attack's iterations; ``None`` for the preset's.
        step_size: In units of [0, 1] images; ``None`` for the preset's.
        purifier: A shipped name or a file.
        attack: A name in :func:`nrpurify.attacks.names`, or a spec such as
            ``mi-fgsm:momentum=0.9``; attacks that use labels get the true ones.
        trained: File of a generator (cda) or pattern (fff); None for the shipped one.
        size: Side of the images in pixels: short side resized, center cropped.
        batch: Images read at a time; decides no result.
        group: Images that a network sees together; part of the result, see
            :mod:`nrpurify.core.groups`.
        seed: Of the attack.
        attacked: A folder with the attacked images, made before, under the same names and of the
            same size; nothing is attacked then. Must be within ``eps`` all the same.
        uint8: Round attacked images to 8 bits, as a PNG file does, before they are purified; see
            :func:`nrpurify.attacks.constraints.round_within`.
        device: Where to work.
        amp: bf16 autocast of attack and purifier.
        check_labels: Refuse labels that do not fit what the victims say of the first images.
    """

    victims: Sequence[Victim] = VICTIMS
    surrogate: str | None = None
    preset: str = "paper"
    layer: str | None = None
    eps: float = 16 / 255
    steps: int | None = None
    step_size: float | None = None
    purifier: str | Path = "fast"
    attack: str = "ssp"
    trained: str | Path | None = None
    size: int = 224
    batch: int = 10
    group: int = GROUP
    seed: int = 0
    attacked: str | Path | None = None
    uint8: bool = True
    device: str = "cpu"
    amp: Amp = "auto"
    check_labels: bool = True

    def __post_init__(self) -> None:
        """Raise InputError for a number out of range, an unknown attack or one of its settings."""
        _, settings = read_spec(self.attack)
        merge_settings(settings, steps=self.steps, step_size=self.step_size)
        for name in ("batch", "group"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
