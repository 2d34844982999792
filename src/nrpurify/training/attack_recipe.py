"""Recipes of the trained attacks, CDA and FFF, readable from YAML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from nrpurify.core.ranges import (
    BUDGET,
    CROPS,
    DECAY,
    POSITIVE,
    SOME,
    at_least,
    check,
    each,
    optional,
)
from nrpurify.training import settings
from nrpurify.training.recipe import Optimization

T = TypeVar("T", bound="CdaRecipe | FffRecipe")


@dataclass(frozen=True)
class AttackValidation:
    """What is measured on held-out photos: how often a victim still says what it says of clean.

    Attributes:
        every: Steps between validations.
        photos: How many held-out photos, at most; 0 for no validation.
        side: Side of their central crops.
        victim: A classifier that :func:`nrpurify.models.load_classifier` takes.
        eps: Budgets.
    """

    every: int = 500
    photos: int = 32
    side: int = 224
    victim: str = "efficientnet_lite0"
    eps: tuple[float, ...] = (8 / 255, 16 / 255)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(self, every=at_least(1), photos=at_least(0), side=at_least(1), eps=each(BUDGET))


@dataclass(frozen=True)
class CdaRecipe:
    """A training run of CDA; the defaults are the authors', with a network that can be had.

    Attributes:
        size: ``large`` or ``small``, see :data:`nrpurify.attacks.generator.BLOCKS`.
        network: The discriminator, a name that :func:`nrpurify.models.features.feature_extractor`
            takes.
        layer: Its layer. The mean over positions are the logits, or what stands for them.
        scale: Factor of these logits.
        steps: Number of updates.
        batch: Crops a step.
        crop: Side of the crops.
        resize: Least and greatest length of a photo's short side before cropping.
        eps: Budget in training, in (0, 1]; the generator serves any other.
        straight: Whether gradients pass the clipping to the box as if it were not there; if not, it
            stops them where it clips, as the authors' does.
        lr: Learning rate of Adam.
        warmup: Steps over which it grows from zero.
        final_lr: Last learning rate, half a cosine down; None for ``lr`` to the end.
        betas: Of Adam.
        ema: Decay of the averaged weights that are validated and saved; 0 for the last ones.
        holdout: Share of the photos kept for validation.
        seed: Of everything random.
        checkpoint_every: Steps between resumable checkpoints.
        validation: What is measured.

    Raises:
        InputError: A number out of its range.
    """

    size: Literal["large", "small"] = "large"
    network: str = "torchvision:vgg16"
    layer: str = "network.classifier.6"
    scale: float = 1.0
    steps: int = 80_000
    batch: int = 15
    crop: int = 224
    resize: tuple[int, int] = (300, 300)
    eps: float = 10 / 255
    straight: bool = False
    lr: float = 2e-4
    warmup: int = 0
    final_lr: float | None = None
    betas: tuple[float, float] = (0.5, 0.999)
    ema: float = 0.0
    holdout: float = 0.02
    seed: int = 0
    checkpoint_every: int = 100
    validation: AttackValidation = AttackValidation()
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            scale=POSITIVE,
            lr=POSITIVE,
            warmup=at_least(0),
            final_lr=optional(at_least(0)),
            betas=each(DECAY),
            ema=DECAY,
            **CROPS,
        )

    @property
    def schedule(self) -> Optimization:
        """How the learning rate moves."""
        last = self.lr if self.final_lr is None else self.final_lr
        return Optimization(lr=self.lr, warmup=self.warmup, schedule="cosine", final_lr=last)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class FffRecipe:
    """How a pattern of FFF is made; the defaults are the paper's (appendix F).

    Attributes:
        network: A name that :func:`nrpurify.models.features.feature_extractor` takes.
        layers: The layers that are excited.
        side: Height and width of the pattern, for images whose short side is 224.
        eps: Budget in (0, 1] during the making.
        steps: Greatest number of steps.
        step_size: Learning rate of Adam, in units of [0, 1] images.
        settled: See :class:`nrpurify.attacks.fff.FffSettings`.
        seed: Of the start.

    Raises:
        InputError: A number out of its range.
    """

    network: str = "vgg16"
    layers: tuple[str, ...] = tuple(
        f"relu{block}_{index}"
        for block, count in enumerate((2, 2, 3, 3, 3), 1)
        for index in range(1, count + 1)
    )
    side: int = 224
    eps: float = 10 / 255
    steps: int = 10_000
    step_size: float = 0.1 / 255
    settled: float = 1e-3
    seed: int = 0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(
            self,
            layers=SOME,
            side=at_least(1),
            eps=BUDGET,
            steps=at_least(1),
            step_size=POSITIVE,
            settled=at_least(0),
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


def shipped_attack_recipes() -> dict[str, Path]:
    """The recipes that the package carries, by name."""
    return settings.shipped_files("attack_recipes")


def load_attack_recipe(kind: type[T], source: str | Path, **changes: Any) -> T:
    """Read a shipped recipe by name, or a YAML file; ``changes`` replace top-level settings.

    Args:
        kind: :class:`CdaRecipe` or :class:`FffRecipe`.
        source: Name or file.
        changes: Those that are ``None`` are left out.

    Raises:
        InputError: No such recipe, or one that cannot be used.
        MissingExtraError: PyYAML or pydantic is not installed.
    """
    values, marks = settings.read_recipe(source, shipped_attack_recipes())
    return settings.checked(kind, values, marks, changes)
