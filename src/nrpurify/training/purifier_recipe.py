"""Everything that decides the training of a purifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from nrpurify.core.config import RecipeError
from nrpurify.core.ranges import (
    CROPS,
    POSITIVE,
    SHARE,
    SOME,
    Range,
    at_least,
    check,
    least_and_greatest,
    optional,
    weights,
)
from nrpurify.models.feature_distances import DISTANCES
from nrpurify.purifiers.strength import PLAIN, Strength
from nrpurify.training.adversary_config import (
    Adversary,
    Cache,
    JointTraining,
    PerturbationAugment,
)
from nrpurify.training.optim import Optimization
from nrpurify.training.recipe import TrainingRecipe

_TO_ANOTHER = {"switch", "toward"}
"""Goals that lead from one crop to the features of another."""
_DISTANCE = Range(f"one of {', '.join(DISTANCES)}", DISTANCES.__contains__)


@dataclass(frozen=True)
class FeatureTerm:
    """One part of the feature loss (Eq. 5): λ times the distance at some layers.

    Attributes:
        weight: λ.
        network: A name that :func:`nrpurify.models.features.feature_extractor` takes.
        layers: Where distances are taken; they are summed.
        distance: Δ of Eq. 1.
        first_step: First step with this term; a cheap network can start and a dear one follow.
        until: First step without it; None for a term that stays.
        every: Only each so many steps; the weight then counts for that step alone.
    """

    weight: float = 1.0
    network: str = "vgg16"
    layers: tuple[str, ...] = ("conv3_3",)
    distance: str = "mae"
    first_step: int = 0
    until: int | None = None
    every: int = 1
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            weight=at_least(0),
            layers=SOME,
            distance=_DISTANCE,
            first_step=at_least(0),
            every=at_least(1),
        )
        if self.until is not None and self.until <= self.first_step:
            problem = f"is {self.until}; expected a step after first_step, {self.first_step}"
            raise RecipeError((("until",), problem))

    def counts(self, step: int) -> bool:
        """Whether the term is part of the loss at ``step``."""
        ended = self.until is not None and step >= self.until
        return step >= self.first_step and not ended and step % self.every == 0


@dataclass(frozen=True)
class Losses:
    """Weights of Eq. 8, and HGD's loss.

    Attributes:
        features: λ and its feature extractors; empty for the ablation without it.
        diversity: Share of the feature losses taken between crops of another, random size.
        pixel: γ, 0 for the ablation without it.
        pixel_late: γ from step ``pixel_late_from`` on; None where it does not change.
        pixel_late_from: First step with that γ.
        pixel_norm: ``l1`` and ``mse`` are means over pixels, ``rmse`` is each crop's root of
            ``mse``, ``l2`` is Eq. 6's norm.
        adversarial: α, 0 for no discriminator.
        adversarial_from: First step with the adversarial loss.
        gan: ``relativistic``, the two-sided average form of Eq. 7 that the text names and ESRGAN
            has; ``eq7``, Eq. 7 as it is printed: crop by crop, one-sided; or the ablation's
            ``vanilla``.
        critic_batches: Whether the discriminator sees purified and clean crops in one ``joint``
            batch, so that its batch norms mix them, or in ``separate`` ones.
        guide: Classifier under which the logits of purified and clean crops are compared by L1
            (HGD, Liao et al., 2018); empty for none.
        guide_weight: Weight of that term.
        balance: How much more the losses of crops with weak perturbations count, from 0 (all
            alike) to 1 (relative to the perturbation's size).
    """

    features: tuple[FeatureTerm, ...] = (FeatureTerm(),)
    diversity: float = 0.0
    pixel: float = 1e-2
    pixel_late: float | None = None
    pixel_late_from: int = 0
    pixel_norm: Literal["l1", "mse", "rmse", "l2"] = "l2"
    adversarial: float = 5e-3
    adversarial_from: int = 0
    gan: Literal["relativistic", "eq7", "vanilla"] = "relativistic"
    critic_batches: Literal["joint", "separate"] = "joint"
    guide: str = ""
    guide_weight: float = 1.0
    balance: float = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            diversity=SHARE,
            pixel=at_least(0),
            pixel_late_from=at_least(0),
            adversarial=at_least(0),
            adversarial_from=at_least(0),
            guide_weight=at_least(0),
            balance=SHARE,
            pixel_late=optional(at_least(0)),
        )

    def pixel_at(self, step: int) -> float:
        """γ at ``step``."""
        if self.pixel_late is None or step < self.pixel_late_from:
            return self.pixel
        return self.pixel_late


@dataclass(frozen=True)
class Validation:
    """What is measured on held-out photos.

    Attributes:
        every: Steps between validations.
        photos: How many held-out photos, at most; 0 for no validation.
        side: Side of their central crops.
        steps: Iterations of the SSP attack on them (the authors' settings, the first adversary's
            surrogate).
        victim: A classifier whose agreement with itself on clean crops is reported; empty for none.
    """

    every: int = 2000
    photos: int = 32
    side: int = 224
    steps: int = 10
    victim: str = ""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            every=at_least(1),
            photos=at_least(0),
            side=at_least(1),
            steps=at_least(1),
        )


@dataclass(frozen=True)
class GateTraining:
    """How the gate is trained, when the purifier is (:class:`nrpurify.purifiers.Gate`).

    Attributes:
        steps: Batches that are purified for it; 0 for no gate, as at strength 1: all images are
            treated alike.
        batch: Clean crops a step; as many attacked ones come with them.
        updates: Of the gate a step, each on twice as many crops of this batch and earlier ones.
        lr: Greatest learning rate, warmed up and brought down by a cosine.
        caution: How many clean images that are strengthened weigh as much as one attacked image
            that is not; its logarithm is added to the logits in the end.
        known: Share of the attacked crops that are of kinds with ``strengthen: false``; without
            such kinds it means nothing.
        fresh: Share of the steps on crops of other scales and kernels, with perturbations of kept
            ones.
        resize: Least and greatest length of a photo's short side before these are cut.
    """

    steps: int = 0
    batch: int = 8
    updates: int = 4
    lr: float = 3e-3
    caution: float = 12.0
    known: float = 0.3
    fresh: float = 0.6
    resize: tuple[int, int] = (128, 448)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            steps=at_least(0),
            batch=at_least(1),
            updates=at_least(1),
            lr=at_least(0),
            caution=POSITIVE,
            known=SHARE,
            fresh=SHARE,
            resize=least_and_greatest(at_least(1)),
        )


@dataclass(frozen=True)
class Recipe(TrainingRecipe):
    """A training run of Algorithm 2.

    The defaults are the paper's (Sec. 4.1), except ``square`` and ``losses.critic_batches``.

    Attributes:
        defense: What comes of it: ``nrp``, or the defense that is trained here to be compared with
            a purifier (``hgd``, ``ape-gan``, ``sr``, ``gnp``, ``fgsp``); it stands on the card.
        extends: The recipe of that purifier. Its settings hold wherever this one names none, so
            that both have the same budget.
        purifier: A design's name.
        strength: Of the saved purifier's correction; training itself is at 1.
        gate: Of the strength, trained after the purifier.
        steps: Number of updates of the purifier; 0 to train the gate of a warm start alone.
        batch: Crops a step and process.
        crop: Side of the training crops.
        resize: Least and greatest length of a photo's short side before cropping.
        square: Whether the long side is resized to that length too, whatever the photo's aspect.
        eps: Budget of the adversaries in (0, 1].
        holdout: Share of the photos kept for validation.
        seed: Of everything random.
        adversaries: The kinds of training attacks.
        joint: Attacks through the purifier itself.
        checkpoint_every: Steps between resumable checkpoints.
        validation: What is measured on the held-out photos.
    """

    defense: Literal["nrp", "hgd", "ape-gan", "sr", "gnp", "fgsp"] = "nrp"
    extends: str = ""
    purifier: str = "nrp"
    strength: Strength = PLAIN
    gate: GateTraining = GateTraining()
    steps: int = 400_000
    batch: int = 16
    crop: int = 128
    resize: tuple[int, int] = (480, 480)
    square: bool = False
    eps: float = 16 / 255
    holdout: float = 0.02
    seed: int = 0
    adversaries: tuple[Adversary, ...] = (Adversary(),)
    joint: JointTraining = field(default_factory=JointTraining)
    cache: Cache = field(default_factory=Cache)
    variation: PerturbationAugment = field(default_factory=PerturbationAugment)
    losses: Losses = Losses()
    optimization: Optimization = field(default_factory=Optimization)
    checkpoint_every: int = 500
    validation: Validation = Validation()
    folder: ClassVar[str] = "purifier"

    def __post_init__(self) -> None:
        check(self, **{**CROPS, "steps": at_least(0)})
        some = weights(lambda kinds: [kind.weight for kind in kinds])
        if not some.holds(self.adversaries):
            raise RecipeError((("adversaries",), f"have no {some.expected}"))
        self._check_crops_enough()

    def _check_crops_enough(self) -> None:
        """Refuse a single crop where a loss or an attack needs another one beside it.

        Raises:
            RecipeError: It is one.
        """
        apart = self.losses.critic_batches == "separate" and self.losses.adversarial > 0
        if apart and self.batch < 2:
            problem = "is 1; expected at least 2 crops with critic_batches 'separate', whose batch "
            raise RecipeError((("batch",), problem + "norms need another crop"))
        lead = sorted({goal for kind in self.adversaries for goal in kind.goals} & _TO_ANOTHER)
        if lead and self.cache.shard_size < 2:
            problem = f"is 1; expected at least 2 crops with the goal {lead[0]!r}, which leads to "
            raise RecipeError((("cache", "shard_size"), problem + "another crop"))

    @property
    def gated(self) -> bool:
        """Whether a gate is trained: where there is a strength for it to decide on."""
        return self.gate.steps > 0 and self.strength != PLAIN


def load_recipe(source: str | Path, *, base: str = "", **changes: Any) -> Recipe:
    """Read a purifier's recipe; see :meth:`nrpurify.training.recipe.TrainingRecipe.load`.

    Examples:
        >>> recipe = nrpurify.load_recipe("smoke", steps=20)
        >>> recipe.purifier, recipe.steps
        ('micro', 20)
    """
    return Recipe.load(source, base=base, **changes)
