"""The adversaries of a training, their cache, and the augmentation of cached perturbations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from nrpurify.attacks.starts import STARTS
from nrpurify.core.config import RecipeError
from nrpurify.core.ranges import (
    BUDGET,
    POSITIVE,
    SHARE,
    SOME,
    at_least,
    check,
    each,
    least_and_greatest,
    one_of,
    weights,
)
from nrpurify.models.feature_distances import DISTANCES

Goal = Literal["away", "toward", "along", "against", "switch"]


@dataclass(frozen=True)
class Adversary:
    """One kind of training adversary; each batch draws a kind by its weight.

    ``features``, the paper's, is made by all the settings below. ``classifier`` leads away from the
    own prediction of one classifier, or of the mean logits of several, in steps of eps / steps
    (I-FGSM, MI-FGSM, DIM, DIM-TI by momentum, diversity and smoothing); no label is used.
    ``fgsm`` is one step of eps away from what the classifier ``network`` says of the clean crop
    (FGSP). ``noise`` is Gaussian, held within eps (GNP). ``cda`` is what a trained generator makes,
    clipped to eps: large structures, much alike on all images. ``clean`` leaves crops as they are
    (SR).

    Attributes:
        kind: ``features``, ``classifier``, ``fgsm``, ``noise``, ``cda`` or ``clean``.
        weight: Share of the batches, relative to the other kinds.
        network: A name that :func:`nrpurify.models.features.feature_extractor` takes; for ``fgsm``
            one that :func:`nrpurify.models.load_classifier` takes; for ``cda`` ``cda``, the
            package's generator, or a file that ``nrpurify train-attack cda`` wrote.
        networks: For ``classifier``: names that :func:`nrpurify.models.load_classifier` takes;
            several are attacked together, as an ensemble. Crops go into them as they are, so they
            must take any size.
        layers: Layers to draw from, one a batch.
        goals: Weights of the objectives of :mod:`nrpurify.attacks.feature_losses`.
        distances: Distances of Eq. 1 to draw from.
        starts: Starts R of Algorithm 1 to draw from. The steps of ``classifier`` reach the corners
            of the ball from ``clean`` only.
        momentum: Probability that gradients are accumulated (decay 1).
        diversity: Probability that inputs are diversified (each step with probability 0.7).
        smoothing: Probability that gradients are filtered by the 15×15 Gaussian.
        steps: Least and greatest number of iterations.
        step_sizes: Step sizes of ``features`` to draw from, in units of [0, 1] images.
        std: Standard deviation of ``noise``, in the same units.
        strengthen: Whether the gate is to give such perturbations the strength; false for those
            that the network takes away without it.
    """

    kind: Literal["features", "classifier", "fgsm", "noise", "cda", "clean"] = "features"
    weight: float = 1.0
    network: str = "vgg16"
    networks: tuple[str, ...] = ()
    layers: tuple[str, ...] = ("conv3_3",)
    goals: dict[Goal, float] = field(default_factory=lambda: {"away": 1.0})
    distances: tuple[str, ...] = ("mae",)
    starts: tuple[str, ...] = ("uniform",)
    momentum: float = 0.0
    diversity: float = 0.0
    smoothing: float = 0.0
    steps: tuple[int, int] = (10, 10)
    step_sizes: tuple[float, ...] = (0.01,)
    std: float = 0.05
    strengthen: bool = True
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            weight=at_least(0),
            layers=SOME,
            distances=one_of(tuple(DISTANCES)),
            starts=one_of(tuple(STARTS)),
            momentum=SHARE,
            diversity=SHARE,
            smoothing=SHARE,
            steps=least_and_greatest(at_least(1)),
            step_sizes=each(POSITIVE),
            std=at_least(0),
            goals=weights(dict.values),
        )
        if (self.kind == "classifier") != bool(self.networks):
            problem = f"is {list(self.networks)} with kind {self.kind!r}; expected "
            problem += "at least one classifier's name for kind 'classifier', none for others"
            raise RecipeError((("networks",), problem))


@dataclass(frozen=True)
class JointTraining:
    """Adversaries that see the purifier, as in joint adversarial training of a pre-processor.

    They are made through the purifier as it is at that step, so they are never kept.

    Attributes:
        share: Share of the steps whose whole batch is attacked through the purifier; 0 for none.
        eps: Least and greatest budget in (0, 1]; one is drawn a batch.
        adversaries: The kinds, ``features`` or ``classifier``; each batch draws one by its weight.
    """

    share: float = 0.0
    eps: tuple[float, float] = (1 / 255, 4 / 255)
    adversaries: tuple[Adversary, ...] = (Adversary(steps=(3, 3), step_sizes=(2 / 255,)),)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            share=SHARE,
            eps=least_and_greatest(BUDGET),
            adversaries=weights(lambda kinds: [kind.weight for kind in kinds]),
        )
        for number, kind in enumerate(self.adversaries):
            if kind.kind not in ("features", "classifier"):
                place = ("adversaries", number, "kind")
                problem = f"is {kind.kind!r}; expected 'features' or 'classifier', whose gradients "
                raise RecipeError((place, problem + "can run through the purifier"))


@dataclass(frozen=True)
class Cache:
    """The adversary cache: SSP never looks at the purifier, so its work can be kept.

    Attributes:
        shards: Batches of adversaries made before the first step; 0 makes fresh ones each step
            (Algorithm 2 to the letter).
        shard_size: Crops a shard.
        grow_every: Steps after which one more shard is made; 0 for never.
        crop: Side of the kept crops; training crops are cut from them.
    """

    shards: int = 0
    shard_size: int = 16
    grow_every: int = 0
    crop: int = 128
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            shards=at_least(0),
            shard_size=at_least(1),
            grow_every=at_least(0),
            crop=at_least(1),
        )


@dataclass(frozen=True)
class PerturbationAugment:
    """What happens to kept perturbations at each use; shares of the crops of a batch.

    Attributes:
        clean: Crops without a perturbation.
        scale: Crops whose perturbation is scaled down to a random eps.
        factors: Least and greatest factor of the perturbations of all other crops.
        smooth: Crops whose perturbation is smoothed by the 15×15 Gaussian and signed again.
        swap: Crops that get another crop's perturbation.
        sign: Crops whose perturbation is brought to ±eps everywhere, as a single step leaves it.
        grain: Crops whose perturbation gives way to random grain: noise of a random coarseness and
            coloring, at ±eps.
        least_eps: Least eps after scaling.
        flip: Flips and quarter turns of crop and perturbation together.
    """

    clean: float = 0.0
    scale: float = 0.0
    factors: tuple[float, float] = (1.0, 1.0)
    smooth: float = 0.0
    swap: float = 0.0
    sign: float = 0.0
    grain: float = 0.0
    least_eps: float = 2 / 255
    flip: bool = True
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            clean=SHARE,
            scale=SHARE,
            factors=least_and_greatest(POSITIVE),
            smooth=SHARE,
            swap=SHARE,
            sign=SHARE,
            grain=SHARE,
            least_eps=BUDGET,
        )
