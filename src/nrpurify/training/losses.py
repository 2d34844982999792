"""The losses of Sec. 3.2. Those of the purifier's output are one value a crop."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.core.random import chance, random_integer
from nrpurify.models.feature_distances import feature_distance
from nrpurify.models.features import feature_extractor
from nrpurify.training.purifier_recipe import FeatureTerm


class FeatureLoss(nn.Module):
    """Eq. 5: the distance between the features of purified and clean crops, over all terms.

    Args:
        terms: What is summed.
        diversity: Probability, for each term and step, that its network sees both crops resized to
            the same random side of 3/4 to 4/3 of theirs. What repairs features at many sizes
            repairs more than those of the networks at hand, as DIM's diverse inputs make attacks
            transfer (Xie et al., 2019).
    """

    def __init__(self, terms: tuple[FeatureTerm, ...], diversity: float = 0.0) -> None:
        super().__init__()
        self.terms, self.diversity = terms, diversity
        self.extractors = nn.ModuleList(feature_extractor(t.network, t.layers) for t in terms)

    def forward(
        self,
        purified: Tensor,
        clean: Tensor,
        step: int = 0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Two N×3×S×S tensors to N values; no gradient runs into ``clean``.

        Args:
            purified: Crops in [0, 1], or slightly outside.
            clean: The crops that they should be.
            step: Of the training, which decides the terms that count.
            generator: Of the random sides.
        """
        total = purified.new_zeros(len(purified), dtype=torch.float32)
        for term, extractor in zip(self.terms, self.extractors, strict=True):
            if not term.counts(step):
                continue
            seen, wanted = self._view(purified, clean, generator)
            with torch.no_grad():
                reference = extractor(wanted)
            found = feature_distance(extractor(seen), reference, term.distance)
            total = total + term.weight * found
        return total

    def _view(
        self, purified: Tensor, clean: Tensor, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        if not (self.diversity and chance(self.diversity, generator)):
            return purified, clean
        side = purified.shape[-1]
        size = [random_integer(side * 3 // 4, side * 4 // 3, generator)] * 2
        seen, wanted = (
            F.interpolate(crops, size, mode="bilinear", antialias=True, align_corners=False)
            for crops in (purified, clean)
        )
        return seen, wanted


class GuideLoss(nn.Module):
    """HGD's loss: the mean L1 between a classifier's logits of purified and clean crops.

    Args:
        name: A name that :func:`nrpurify.models.load_classifier` takes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        from nrpurify.models import load_classifier

        self.guide = load_classifier(name)

    def forward(self, purified: Tensor, clean: Tensor) -> Tensor:
        """Two N×3×S×S tensors to N values; no gradient runs into ``clean``."""
        with torch.no_grad():
            reference = self.guide(clean)
        apart: Tensor = (self.guide(purified) - reference).float().abs().mean(1)
        return apart


def crop_weights(perturbation: Tensor, eps: float, balance: float) -> Tensor:
    """What each crop's losses are multiplied by, N values with a mean of 1.

    The loss of a crop with a weak perturbation is small, so strong perturbations dominate the
    gradient. ``balance`` evens that out: weights are ``(mean|δ| / eps + 0.1)`` to the power
    ``-balance``.

    Args:
        perturbation: δ, N×3×S×S.
        eps: The recipe's budget in (0, 1].
        balance: 0 for equal weights; 1 for losses relative to the perturbation's size.
    """
    sizes = perturbation.abs().flatten(1).mean(1) / eps
    weights = (sizes + 0.1) ** -balance  # 0.1 bounds the weight of crops without a perturbation
    return weights / weights.mean()


def pixel_l1(purified: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute difference of pixels, N values."""
    return (purified - clean).abs().flatten(1).mean(1)


def pixel_mse(purified: Tensor, clean: Tensor) -> Tensor:
    """Mean squared difference of pixels, N values."""
    return (purified - clean).square().flatten(1).mean(1)


def pixel_rmse(purified: Tensor, clean: Tensor) -> Tensor:
    """Root of the mean squared difference, N values."""
    side = math.sqrt(purified[0].numel())
    return pixel_l2(purified, clean) / side


def pixel_l2(purified: Tensor, clean: Tensor) -> Tensor:
    """Eq. 6: the Euclidean norm of the difference, N values."""
    norms: Tensor = (purified - clean).flatten(1).norm(dim=1)
    return norms


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": pixel_l1,
    "mse": pixel_mse,
    "rmse": pixel_rmse,
    "l2": pixel_l2,
}


def _entropy(logits: Tensor, *, real: bool) -> Tensor:
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return F.binary_cross_entropy_with_logits(logits, target)


def purifier_loss(gan: str, purified: Tensor, clean: Tensor) -> Tensor:
    """What the purifier minimizes, from the discriminator's N×1 logits.

    ``relativistic``: Eq. 7 in its two-sided average form (Jolicoeur-Martineau, 2018): purified
    crops should look more real than the average clean one and the other way round.
    ``eq7``: Eq. 7 as printed, −log σ(C(purified) − C(clean)) of each crop and its own original.
    ``vanilla``: the non-saturating loss (Goodfellow et al., 2014).
    """
    if gan == "eq7":
        return _entropy(purified - clean, real=True)
    if gan == "vanilla":
        return _entropy(purified, real=True)
    return _relativistic(purified, clean)


def discriminator_loss(gan: str, purified: Tensor, clean: Tensor) -> Tensor:
    """What the discriminator minimizes, from its N×1 logits; see :func:`purifier_loss`."""
    if gan == "eq7":
        return _entropy(clean - purified, real=True)
    if gan == "vanilla":
        return (_entropy(clean, real=True) + _entropy(purified, real=False)) / 2
    return _relativistic(clean, purified)


def _relativistic(winner: Tensor, loser: Tensor) -> Tensor:
    above = _entropy(winner - loser.mean(0, keepdim=True), real=True)
    below = _entropy(loser - winner.mean(0, keepdim=True), real=False)
    return (above + below) / 2
