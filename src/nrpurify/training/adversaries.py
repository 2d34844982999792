"""Making the adversaries of Algorithm 2, line 3, and keeping them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn

from nrpurify.attacks import feature_losses
from nrpurify.attacks.cda import cda
from nrpurify.attacks.fgsm import fgsm
from nrpurify.attacks.generator import GeneratorNet
from nrpurify.attacks.gradient import Objective, sign_gradient_ascent
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.starts import Start, resolve_start
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.trained import load_generator
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.attacks.wrappers import Ensemble
from nrpurify.core.errors import InputError
from nrpurify.core.random import chance, random_integer
from nrpurify.models.features import FeatureExtractor, feature_extractor
from nrpurify.training.adversary_config import Adversary
from nrpurify.training.photos import random_crops
from nrpurify.training.purifier_recipe import Recipe

if TYPE_CHECKING:
    from nrpurify.models import Classifier

T = TypeVar("T")


class Mislead(GradientAttack):
    """Away from the classifier's own prediction, with settings drawn for each shard."""

    steps: int = 10
    start: str | Start = "clean"
    momentum: float = 0.0
    diversity: float = 0.0
    smoothing: int = 0


class Crops(NamedTuple):
    """N×3×S×S clean crops in [0, 1], and with what they are to be attacked."""

    kind: Adversary
    layer: str
    clean: Tensor


class Pair(NamedTuple):
    """Clean and attacked crops, N×3×S×S; float in [0, 1] or uint8."""

    clean: Tensor
    adversarial: Tensor


def check_pair(clean: Tensor, adversarial: Tensor, least: int = 1) -> None:
    """Refuse what is not N×3×H×W clean and attacked crops with sides of at least ``least``.

    Raises:
        ValueError: Shapes differ or are of another kind.
    """
    shape = tuple(clean.shape)
    fits = len(shape) == 4 and shape[0] > 0 and shape[1] == 3 and min(shape[2:]) >= least
    if not fits or clean.shape != adversarial.shape:
        raise ValueError(
            f"clean and adversarial are {shape} and {tuple(adversarial.shape)}; expected two "
            f"N×3×H×W tensors with sides of at least {least}"
        )


def _pick(values: Sequence[T], generator: Generator) -> T:
    return values[random_integer(0, len(values) - 1, generator)]


def _weighted(weights: Sequence[float], generator: Generator) -> int:
    shares = torch.tensor(weights, device="cpu")
    return int(torch.multinomial(shares, 1, generator=generator))


def draw_kind(kinds: Sequence[Adversary], generator: Generator) -> Adversary:
    """One of ``kinds`` by their weights."""
    return kinds[_weighted([kind.weight for kind in kinds], generator)]


@dataclass
class AdversaryMaker:
    """Draws crops and perturbs them by the recipe's adversaries.

    Attributes:
        recipe: Its adversaries, eps, resize and cache are used.
        photos: Training photos.
        device: Where the attacks run.
    """

    recipe: Recipe
    photos: list[Path]
    device: torch.device

    def __post_init__(self) -> None:
        self._extractors: dict[tuple[str, str], FeatureExtractor] = {}
        self._classifiers: dict[tuple[str, bool], Classifier] = {}
        self._generators: dict[str, GeneratorNet] = {}

    def check(self) -> None:
        """Look for all networks and layers that may be drawn, without loading weights.

        A shard that asks for one may come after hours.

        Raises:
            InputError: One does not exist.
        """
        recipe = self.recipe
        joint = recipe.joint.adversaries if recipe.joint.share else ()
        for place, kinds in (("adversaries", recipe.adversaries), ("joint.adversaries", joint)):
            for number, kind in enumerate(kinds):
                try:
                    if kind.weight:
                        self._look_for(kind)
                except InputError as error:
                    raise InputError(f"{place}.{number}: {error}") from error

    def _look_for(self, kind: Adversary) -> None:
        from nrpurify.models import load_classifier

        if kind.kind == "features":
            feature_extractor(kind.network, kind.layers, pretrained=False)
        elif kind.kind == "cda":
            self._generator(kind.network)
        for name in (kind.network,) if kind.kind == "fgsm" else kind.networks:
            load_classifier(name, pretrained=False)

    def draw(self, count: int, side: int, generator: Generator) -> Crops:
        """The part of :meth:`make` that comes before the attack: what a loader can do ahead."""
        recipe, kinds = self.recipe, self.recipe.adversaries
        kind = draw_kind(kinds, generator)
        layer = _pick(kind.layers, generator)
        square = recipe.square
        clean = random_crops(self.photos, count, side, recipe.resize, generator, square=square)
        return Crops(kind, layer, clean)

    def make(
        self, count: int, side: int, generator: Generator, drawn: Crops | None = None
    ) -> tuple[Pair, dict[str, object]]:
        """Attack ``count`` fresh crops with one kind of adversary; also return its settings.

        Args:
            count: N of the N×3×side×side crops.
            side: Their side.
            generator: Of all that is random; the one that drew ``drawn``.
            drawn: What :meth:`draw` returned for the same arguments; None to call it.
        """
        kind, layer, clean = drawn or self.draw(count, side, generator)
        clean = clean.to(self.device).contiguous(memory_format=torch.channels_last)
        told: dict[str, object] = {"strengthen": kind.strengthen}
        if kind.kind == "classifier":
            adversarial, settings = self._mislead(kind, clean, self.recipe.eps, generator)
            told |= {"kind": kind.kind, "networks": kind.networks, **settings}
            return Pair(clean, adversarial), told
        if kind.kind != "features":
            told["kind"] = kind.kind
            return Pair(clean, self._perturb(kind, clean, generator)), told
        adversarial, settings = self._attack(kind, layer, clean, self.recipe.eps, generator)
        told |= {"network": kind.network, "layer": layer, **settings}
        return Pair(clean, adversarial), told

    def make_through(self, purifier: nn.Module, clean: Tensor, generator: Generator) -> Tensor:
        """Attack crops through the purifier by one of the recipe's ``joint`` adversaries.

        Args:
            purifier: As it is now; its gradients and mode are left as they were.
            clean: N×3×S×S crops in [0, 1], on the maker's device.
            generator: Of all that is random.

        Returns:
            N×3×S×S attacked crops, not yet purified.
        """
        joint = self.recipe.joint
        least, greatest = joint.eps
        kind = draw_kind(joint.adversaries, generator)
        eps = least + (greatest - least) * float(torch.rand((), generator=generator, device="cpu"))
        if kind.kind == "classifier":
            return self._mislead(kind, clean, eps, generator, purifier)[0]
        layer = _pick(kind.layers, generator)
        with frozen(purifier):
            return self._attack(kind, layer, clean, eps, generator, purifier)[0]

    def _perturb(self, kind: Adversary, clean: Tensor, generator: Generator) -> Tensor:
        eps = self.recipe.eps
        if kind.kind == "fgsm":
            classifier = self._classifier(kind.network)
            return fgsm(classifier, clean, eps=eps, amp=self.recipe.optimization.amp)
        if kind.kind == "noise":
            draws = torch.randn(clean.shape, generator=generator, device="cpu")
            noise = kind.std * draws.to(clean)
            return (clean + noise.clamp(-eps, eps)).clamp(0, 1)
        if kind.kind == "cda":
            return cda(self._generator(kind.network), clean, eps=eps)
        return clean

    def _mislead(
        self,
        kind: Adversary,
        clean: Tensor,
        eps: float,
        generator: Generator,
        purifier: nn.Module | None = None,
    ) -> tuple[Tensor, dict[str, object]]:
        """Lead the mean logits of ``kind.networks`` away from their own prediction."""
        members = [self._classifier(name, any_size=True) for name in kind.networks]
        model: nn.Module = members[0] if len(members) == 1 else Ensemble(*members)
        attack = Mislead(
            steps=random_integer(*kind.steps, generator),
            start=_pick(kind.starts, generator),
            momentum=float(chance(kind.momentum, generator)),
            diversity=0.7 * chance(kind.diversity, generator),
            smoothing=15 * chance(kind.smoothing, generator),
        )
        adversarial = attack(
            model if purifier is None else nn.Sequential(purifier, model),
            clean,
            eps=eps,
            generator=generator,
            amp=self.recipe.optimization.amp,
        )
        return adversarial, attack.in_force()

    def _attack(
        self,
        kind: Adversary,
        layer: str,
        clean: Tensor,
        eps: float,
        generator: Generator,
        purifier: nn.Module | None = None,
    ) -> tuple[Tensor, dict[str, object]]:
        goals = list(kind.goals.items())
        goal = goals[_weighted([weight for _, weight in goals], generator)][0]
        distance, start = _pick(kind.distances, generator), _pick(kind.starts, generator)
        momentum = chance(kind.momentum, generator)
        diversity = 0.7 * chance(kind.diversity, generator)
        smooth = chance(kind.smoothing, generator)
        steps = random_integer(*kind.steps, generator)
        step_size = _pick(kind.step_sizes, generator)
        extractor: nn.Module = self._extractor(kind.network, layer)
        if purifier is not None:
            extractor = nn.Sequential(purifier, extractor)
        objective = self._objective(goal, extractor, clean, distance, diversity, generator)
        adversarial = sign_gradient_ascent(
            clean,
            objective,
            eps=eps,
            steps=steps,
            step_size=step_size,
            start=resolve_start(start)(clean, eps, generator),
            momentum=float(momentum),
            smooth=smoother(gaussian_kernel()) if smooth else None,
        )
        return adversarial, {
            "goal": goal,
            "distance": distance,
            "start": start,
            "momentum": momentum,
            "diversity": diversity,
            "smoothing": smooth,
            "steps": steps,
            "step_size": step_size,
        }

    def _objective(
        self,
        goal: str,
        extractor: nn.Module,
        clean: Tensor,
        distance: str,
        diversity: float,
        generator: Generator,
    ) -> Objective:
        draws = feature_losses.input_diversity(clean, diversity, generator)
        amp = self.recipe.optimization.amp
        if goal == "along":
            return feature_losses.random_direction(extractor, generator, draws, amp)
        if goal == "against":
            return feature_losses.negative_mean(extractor, clean, draws, amp)
        if goal == "switch":
            return feature_losses.feature_transfer(extractor, clean, clean.roll(1, 0), draws, amp)
        if goal == "toward":
            return feature_losses.feature_matching(
                extractor, clean.roll(1, 0), distance, draws, amp
            )
        return feature_losses.feature_distortion(extractor, clean, distance, draws, amp)

    def _extractor(self, network: str, layer: str) -> FeatureExtractor:
        key = (network, layer)
        if key not in self._extractors:
            self._extractors[key] = feature_extractor(network, layer).to(self.device)
        return self._extractors[key]

    def _generator(self, source: str) -> GeneratorNet:
        if source not in self._generators:
            self._generators[source] = load_generator(source, device=self.device)
        return self._generators[source]

    def _classifier(self, name: str, *, any_size: bool = False) -> Classifier:
        """A classifier by name; with ``any_size`` crops keep their scale, they are not resized."""
        key = (name, any_size)
        if key not in self._classifiers:
            from nrpurify.models import load_classifier

            classifier = load_classifier(name, device=self.device)
            if any_size:
                classifier.input_size = None
            self._classifiers[key] = classifier
        return self._classifiers[key]
