"""Randomized smoothing: certified accuracy of a classifier behind a denoiser.

Cohen, Rosenfeld & Kolter, 2019 (arXiv 1902.02918), with a purifier in front of an unchanged
classifier as in Salman et al., 2020 (denoised smoothing, arXiv 2003.01908). The smoothed classifier
answers with the class that the base classifier gives most often under Gaussian noise. Its answer
cannot change within an l2 ball around the image, with probability 1 - alpha over the noise drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.groups import GROUP, in_fixed_groups
from nrpurify.core.precision import Amp, autocast
from nrpurify.core.random import check_generator
from nrpurify.purifiers import Purifier


@dataclass(frozen=True)
class Certificate:
    """What holds for one image.

    Attributes:
        prediction: The smoothed classifier's class, None where it abstains.
        radius: l2 distance in units of [0, 1] images within which it cannot change; 0 where it
            abstains.
        votes: How often that class, or the most likely one, came among the ``n`` samples.
    """

    prediction: int | None
    radius: float
    votes: int


def lower_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided Clopper-Pearson bound: the probability is at least this with confidence 1 - alpha.

    The bound p solves P(X >= successes) = alpha for X of ``trials`` draws with probability p; it is
    the alpha quantile of Beta(successes, trials - successes + 1).

    Raises:
        InputError: More successes than trials, or alpha outside (0, 1).
    """
    if not 0 <= successes <= trials or not 0 < alpha < 1:
        raise InputError(
            f"{successes} of {trials} at alpha {alpha}; expected at most as many successes as "
            "trials and an alpha between 0 and 1"
        )
    if successes == 0:
        return 0.0
    k = torch.arange(successes, trials + 1, dtype=torch.float64)
    count = torch.tensor(float(trials), dtype=torch.float64)
    choose = torch.lgamma(count + 1) - torch.lgamma(k + 1) - torch.lgamma(count - k + 1)
    low, high = 0.0, 1.0
    for _ in range(60):  # bisection to the last bit of a float
        p = (low + high) / 2
        tail = torch.logsumexp(choose + k * math.log(p) + (count - k) * math.log1p(-p), 0)
        low, high = (p, high) if float(tail) < math.log(alpha) else (low, p)
    return low


@torch.no_grad()
def certify(
    classify: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
    group: int = 4 * GROUP,
    generator: Generator | None = None,
) -> Certificate:
    """Certify one image (CERTIFY of Cohen et al., 2019).

    Args:
        classify: The base classifier, from N×3×H×W noisy images, which leave [0, 1], to logits.
        image: 3×H×W in [0, 1].
        sigma: Standard deviation of the noise.
        n0: Samples that choose the class.
        n: Samples that certify it.
        alpha: Probability of a wrong certificate.
        group: Noisy images that ``classify`` sees together.
        generator: Of the noise, on the CPU.

    Raises:
        InputError: Another generator, or a classifier that answers NaN.
    """
    check_generator(generator)

    def count(samples: int) -> Tensor:
        total: Tensor | None = None
        for start in range(0, samples, group):
            size = min(group, samples - start)
            noise = torch.randn((size, *image.shape), generator=generator, device="cpu")
            noisy = image + sigma * noise.to(image)
            logits = in_fixed_groups(classify, group, noisy)
            if logits.isnan().any():  # whose largest is class 0
                raise InputError("the classifier answered NaN to a noisy image; expected logits")
            found = logits.argmax(1).bincount(minlength=logits.shape[1]).cpu()
            total = found if total is None else total + found
        assert total is not None
        return total

    chosen = int(count(n0).argmax())
    votes = int(count(n)[chosen])
    bound = lower_bound(votes, n, alpha)
    if bound <= 0.5:
        return Certificate(None, 0.0, votes)
    return Certificate(chosen, sigma * NormalDist().inv_cdf(bound), votes)


def base_classifier(
    victim: Callable[[Tensor], Tensor], purifier: Purifier | None, amp: Amp = False
) -> Callable[[Tensor], Tensor]:
    """The function that is smoothed: clips noisy images to [0, 1], purifies and classifies."""

    def classify(noisy: Tensor) -> Tensor:
        images = noisy.clamp(0, 1)
        if purifier is not None:
            images = purifier.purify(images, amp=amp)
        with autocast(images.device, amp):
            return victim(images).float()

    return classify
