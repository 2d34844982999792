"""The one builder of attacks by name, and what runs them on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from nrpurify import models, weights
from nrpurify.attacks import registry
from nrpurify.attacks.gradient import value_and_gradient
from nrpurify.attacks.gradient_log import log_gradients, report, tell
from nrpurify.attacks.registry import AttackEntry
from nrpurify.attacks.spec import settings_in_force
from nrpurify.attacks.ssp import SelfSupervisedPerturbation, default_layer
from nrpurify.attacks.step_size import StepSize
from nrpurify.attacks.surrogate import ask, for_convolutions, frozen
from nrpurify.attacks.trained import LOADERS, locate
from nrpurify.attacks.wrappers import Ensemble
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.errors import InputError
from nrpurify.core.groups import GroupSize, in_fixed_groups
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.precision import Amp, autocast, weights_dtype
from nrpurify.core.random import derive_generator
from nrpurify.models import features
from nrpurify.models.features import FeatureExtractor, check_layers

Perturb = Callable[[Tensor, Tensor | None, Sequence[Generator]], Tensor]
"""Maps N×3×H×W images in [0, 1], their N classes (or None) and N generators to attacked images."""


Surrogate = nn.Module | Tensor | None
"""What an attack works on: a network, FFF's pattern, or nothing."""


def typed_settings(entry: AttackEntry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with texts, as a plan may hold them, converted to the kinds of their defaults.

    Raises:
        InputError: An unknown setting, or a text that is no such value.
    """
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    return {**given, **entry.entry.converted(texts)}


@dataclass(frozen=True)
class AttackSpec:
    """An attack by name, with all that decides it besides seed, group and precision.

    Attributes:
        name: A name in :func:`nrpurify.attacks.names`.
        surrogate: Networks that it works on: for ssp one that
            :func:`nrpurify.models.features.feature_extractor` takes, by default VGG16; else
            classifiers, several for their ensemble.
        layers: Where it works (ssp, tap); empty for the preset's or the network's default.
        eps: Budget: in (0, 1] for ``linf``, above 0 for ``l2``.
        preset: ``paper`` or ``authors``.
        settings: Override the preset.
        trained: File of a generator (cda) or pattern (fff); None for the shipped one.
        use_labels: False: away from what the network itself predicts for the clean images.
        targeted: The classes given are targets.
        norm: Of the budget: ``linf`` or ``l2``.
    """

    name: str
    surrogate: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    eps: float = 16 / 255
    preset: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained: str | Path | None = None
    use_labels: bool = True
    targeted: bool = False
    norm: str = "linf"

    @property
    def entry(self) -> AttackEntry:
        """The attack.

        Raises:
            InputError: No such attack; near matches are named.
        """
        return registry.get(self.name)

    @property
    def networks(self) -> tuple[str, ...]:
        """The surrogates, SSP's default filled in."""
        return self.surrogate or (("vgg16",) if self.entry.surrogate == "features" else ())

    def check(self) -> None:
        """Raise InputError for anything that the attack does not have."""
        entry = self.entry
        for name, given, known in (
            ("surrogate", self.surrogate, entry.surrogate != "none"),
            ("layer", self.layers, entry.surrogate == "features" or "features" in entry.settings),
            ("targets", self.targeted, entry.info.targeted),
            ("trained", self.trained, entry.name in LOADERS),
        ):
            if given and not known:
                raise InputError(
                    f"{name} was given; {entry.name} has no such setting, leave it out"
                )
        if self.norm not in entry.info.norms:
            raise InputError(
                f"norm is {self.norm!r}; {entry.name} supports {', '.join(entry.info.norms)}"
            )
        for name in self.settings:
            entry.entry.setting(name)
        entry.attack.require()
        single = entry.surrogate == "features" or entry.attack.one_network
        if single and len(self.surrogate) > 1:
            raise InputError(
                f"surrogate is {','.join(self.surrogate)!r}; {self.name} works on one network"
            )

    def load(self, load: Callable[[str], nn.Module] | None = None) -> Surrogate:
        """Load what the attack works on.

        Args:
            load: Loads a classifier by name; None for :func:`nrpurify.models.load_classifier`.

        Raises:
            InputError: No such attack, network or layer.
            WeightsError: Weights could not be found or downloaded.
        """
        if self.name in LOADERS:
            return LOADERS[self.name](self.trained or self.name)
        if self.entry.surrogate == "features":
            (name,) = self.networks
            layers = self.layers or default_layer(
                name, SelfSupervisedPerturbation.create(self.preset)
            )
            return features.feature_extractor(name, layers)
        if self.entry.surrogate == "none" or not self.networks:
            return None
        loaded = [(load or models.load_classifier)(name) for name in self.networks]
        network = loaded[0] if len(loaded) == 1 else Ensemble(*loaded)
        if self.layers:
            check_layers(network, self.layers)
        return network

    def described(self, network: object = None) -> dict[str, Any]:
        """All settings in force as plain values, those of the preset filled in.

        Args:
            network: What :meth:`load` gave, for the layers.
        """
        entry = self.entry
        given = typed_settings(entry, self.settings)
        found = settings_in_force(entry, self.preset, given, self.norm)
        attack = entry.create(self.preset, **given)
        if isinstance(attack, StepSize):
            found["step_size"] = attack.length(self.eps, self.norm)
        found.pop("layer", None)
        layers = network.layers if isinstance(network, FeatureExtractor) else self.layers
        if entry.surrogate != "none":
            found["layers"] = list(layers)
        if self.name in LOADERS:
            file = locate(self.trained or self.name)
            found["trained"] = file.name
            found["trained_sha256"] = read_carded(file)[0].sha256
        return {
            name: value if isinstance(value, str | int | float | bool | list | None) else str(value)
            for name, value in found.items()
        }

    def members(self, network: Surrogate) -> dict[str, nn.Module]:
        """The surrogates by name.

        Args:
            network: What :meth:`load` gave.
        """
        if not isinstance(network, nn.Module):
            return {}
        members = list(network.models) if isinstance(network, Ensemble) else [network]
        return dict(zip(self.networks, members, strict=True))

    def weights_sha256(self, network: Surrogate) -> dict[str, str]:
        """Hashes of the weights in use, by the network's name, or ``trained NAME``.

        Args:
            network: What :meth:`load` gave.
        """
        if self.name in LOADERS:
            card, _ = read_carded(locate(self.trained or self.name))
            return {f"trained {self.name}": card.sha256}
        members = self.members(network).items()
        return {name: weights.weights_hash(name, member) for name, member in members}

    def runner(
        self,
        network: object,
        *,
        group: int = 1,
        seed: int = 0,
        amp: Amp = False,
        before: Callable[[str], None] | None = None,
    ) -> AttackRunner:
        """The attack on groups of images, each with its own generator.

        Args:
            network: What :meth:`load` gave, or a victim behind a defense.
            group: See :class:`AttackRunner`.
            seed: See :class:`AttackRunner`.
            amp: bf16 autocast of the attack.
            before: See :class:`AttackRunner`.

        Raises:
            InputError: See :meth:`check`.
        """
        self.check()
        given = typed_settings(self.entry, self.settings)
        if self.layers and "features" in self.entry.settings:
            given["features"] = self.layers
        goal = "targets" if self.targeted else "labels"

        def perturb(
            images: Tensor, classes: Tensor | None, generators: Sequence[Generator]
        ) -> Tensor:
            goals: dict[str, Any] = {}
            if classes is not None and self.use_labels:
                goals[goal] = classes
            return self.entry.function(
                network,
                images,
                eps=self.eps,
                norm=self.norm,
                preset=self.preset,
                generator=generators,
                amp=amp,
                **goals,
                **given,
            )

        return AttackRunner(perturb, network, group, seed, amp, before)


@dataclass(frozen=True)
class AttackRunner:
    """Makes attacked images that depend on the image, the seed and the group's size only.

    Attributes:
        perturb: The attack.
        network: What it works on; anything that is not a module is not tried.
        group: Images that go through the network together; the last group is padded.
        seed: From which each image's generator comes.
        amp: The attack's bf16 autocast.
        before: Called before a group is attacked with the :func:`pixels_hash` of its first image,
            for instance to reseed a random defense inside the network.
    """

    perturb: Perturb
    network: object = None
    group: int = 1
    seed: int = 0
    amp: Amp = False
    before: Callable[[str], None] | None = None
    _size: GroupSize = field(init=False, repr=False)

    def __post_init__(self) -> None:
        outputs = None
        if isinstance(self.network, nn.Module):
            network = self.network

            def outputs(images: Tensor) -> list[Tensor]:
                return answer_and_gradient(network, images, self.amp)

        object.__setattr__(self, "_size", GroupSize(self.group, outputs))

    def __call__(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Attack N×3×H×W images in [0, 1] of one size.

        Args:
            images: Each one's generator comes from the seed and its pixels.
            classes: N labels or targets; None for an attack without.
        """
        sources = [pixels_hash(image) for image in images]
        generators = [derive_generator(self.seed, "attack", source) for source in sources]
        labels: Tensor | Sequence[object] = [None] * len(images) if classes is None else classes
        left = len(images)

        def attack(
            part: Tensor, known: Tensor | list[None], draws: list[Generator], named: list[str]
        ) -> Tensor:
            nonlocal left
            if self.before is not None:
                self.before(named[0])
            with log_gradients() as log:
                found = self.perturb(part, None if classes is None else known, draws)  # type: ignore[arg-type]
            for text in log.texts:
                tell(text)
            report(log.images[:left])  # without the rows that fill the last group
            left -= len(part)
            return found

        size = self._size.of(images)
        return in_fixed_groups(attack, size, images, labels, generators, sources)


def answer_and_gradient(network: nn.Module, images: Tensor, amp: Amp) -> list[Tensor]:
    """A network's outputs for N×3×H×W images, and the gradient of a weighted sum of each row."""
    dtype = weights_dtype(network, images)
    found: list[Tensor] = []

    def objective(point: Tensor) -> Tensor:
        with autocast(point.device, amp):
            answer = ask(network, point.to(dtype))
        found.extend([answer] if isinstance(answer, Tensor) else answer)
        return torch.stack([_weighted(one) for one in found]).sum(0)

    with frozen(network):
        try:
            _, gradient = value_and_gradient(objective, for_convolutions(network, images))
        except (RuntimeError, ValueError):  # no gradient leads through it
            return [one.detach() for one in found]
    return [*(one.detach() for one in found), gradient]


def _weighted(answer: Tensor) -> Tensor:
    rows = answer.float().flatten(1)
    weights = torch.arange(rows.shape[1], device=rows.device, dtype=torch.float32).cos()
    return (rows * weights).sum(1)
