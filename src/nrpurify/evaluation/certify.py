"""Randomized smoothing: certified accuracy of a classifier behind a denoiser.

Cohen, Rosenfeld & Kolter, 2019 (arXiv 1902.02918), with a purifier in front of an unchanged
classifier as in Salman et al., 2020 (denoised smoothing, arXiv 2003.01908). The smoothed classifier
answers with the class that the base classifier gives most often under Gaussian noise. Its answer
cannot change within an l2 ball around the image, with probability 1 - alpha over the noise drawn.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from torch import Generator, Tensor

from nrpurify import models
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import write_json, write_text
from nrpurify.core.groups import GROUP, in_fixed_groups
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.images import load_batch
from nrpurify.core.precision import Amp, arithmetic, autocast
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.random import check_generator, derive_generator
from nrpurify.core.registry import origins_used
from nrpurify.core.versions import versions
from nrpurify.data.labels import LabeledImage
from nrpurify.purifiers import Card, Purifier, load_purifier
from nrpurify.weights import weights_hash

RADII = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Radii of the summary."""
RESULTS, SUMMARY = "certificates.jsonl", "certify.json"


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


@dataclass(frozen=True)
class CertifyPlan:
    """How to certify.

    Attributes:
        victim: A name for :func:`nrpurify.models.load_classifier`.
        purifier: A shipped name or a file; None for the classifier alone.
        sigma: Standard deviation of the noise, in units of [0, 1] images.
        n0: Samples that choose the class.
        n: Samples that certify it; none is among the ``n0``.
        alpha: Probability of a wrong certificate, in (0, 1).
        size: Side of the images in pixels: short side resized, center cropped. Radii are of images
            of this size.
        group: Noisy images that the networks see together.
        seed: Of the noise.
        device: Where to work.
        amp: bf16 autocast of purifier and classifier. The certificate is of the classifier as it
            was computed.

    Raises:
        InputError: A number out of its range.
    """

    victim: str = "efficientnet_lite0"
    purifier: str | None = "fast"
    sigma: float = 0.25
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    size: int = 224
    group: int = 4 * GROUP
    seed: int = 0
    device: str = "cpu"
    amp: Amp = "auto"

    def __post_init__(self) -> None:
        for name in ("n0", "n", "size", "group"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha is {self.alpha}; expected a number between 0 and 1")
        if not 0 < self.sigma < math.inf:
            raise InputError(f"sigma is {self.sigma}; expected a number above 0, such as 0.25")


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


@dataclass
class Certified:
    """The certificates of a folder.

    Attributes:
        rows: One an image: name, label and the fields of :class:`Certificate`.
        settings: What decided them.
        broken: Images that could not be read, with reasons; they are in no number.
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    broken: list[str] = field(default_factory=list)

    def accuracy(self, radius: float = 0.0) -> float:
        """Share of the images whose right answer is certified at ``radius``."""
        right = [r for r in self.rows if r["prediction"] == r["label"] and r["radius"] >= radius]
        return len(right) / len(self.rows)

    def summary(self) -> dict[str, Any]:
        """Settings, counts and certified accuracy at :data:`RADII`, and each image."""
        return {
            "settings": self.settings,
            "images": len(self.rows),
            "abstained": sum(r["prediction"] is None for r in self.rows),
            "certified_accuracy": {f"{radius:g}": self.accuracy(radius) for radius in RADII},
            "rows": self.rows,
            "broken": self.broken,
        }


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


def certify_images(
    items: Sequence[LabeledImage],
    plan: CertifyPlan,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Certified:
    """Certify labeled image files, image by image.

    Args:
        items: Files with labels from 0.
        plan: How.
        out: Folder that gets ``certificates.jsonl``, a line for each finished image, and in the end
            ``certify.json``.
        resume: Keep the finished images of a run with the same settings in ``out``.
        progress: Sees the images done.

    Warns:
        UserWarning: The purifier was trained against noise of another sigma.

    Raises:
        InputError: No image that can be read, a run in ``out`` without ``resume``, or one with
            other settings.
    """
    device = torch.device(plan.device)
    with origins_used() as origins:
        victim = models.load_classifier(plan.victim).to(device)
        purifier = load_purifier(plan.purifier, device=device) if plan.purifier else None
    if purifier is not None:
        _warn_of_sigma(purifier.card, plan.sigma)
    settings = {
        **asdict(plan),
        "purifier_sha256": purifier.card.sha256 if purifier else None,
        "victim_sha256": weights_hash(plan.victim, victim),
        "precision": arithmetic(plan.amp, plan.device),
        **versions(origins),
    }
    log = _Log(Path(out), settings)
    kept = log.open(resume)
    classify = base_classifier(victim, purifier, plan.amp)
    certified = Certified([], settings)
    for index, item in enumerate(items):
        try:
            image = load_batch([item.path], plan.size, crop=True)[0]
        except ImageError as error:
            certified.broken.append(str(error))
            continue
        digest = pixels_hash(image)
        row = kept.get((digest, item.label))
        if row is None:
            found = certify(
                classify,
                image.to(device),
                sigma=plan.sigma,
                n0=plan.n0,
                n=plan.n,
                alpha=plan.alpha,
                group=plan.group,
                generator=derive_generator(plan.seed, "certify", digest),
            )
            row = {"name": item.path.name, "label": item.label, **asdict(found), "pixels": digest}
            log.add(row)
        certified.rows.append(row)
        progress.update("certify", index + 1, len(items))
    if not certified.rows:
        raise InputError(f"none of the {len(items)} images can be read: {certified.broken[:1]}")
    write_json(Path(out) / SUMMARY, certified.summary())
    return certified


def noise_sigmas(card: Card) -> list[float]:
    """Standard deviations of the noise that a purifier was trained against.

    Args:
        card: The purifier's; of one with other adversaries too, or none, the list is empty.
    """
    adversaries = (card.training.get("recipe") or {}).get("adversaries") or []
    if any(one.get("kind") != "noise" for one in adversaries):
        return []
    return sorted({float(one["std"]) for one in adversaries})


def _warn_of_sigma(card: Card, sigma: float) -> None:
    known = noise_sigmas(card)
    if known and sigma not in known:
        trained = ", ".join(f"{one:g}" for one in known)
        warnings.warn(
            f"{card.name} was trained for noise of sigma {trained}; sigma is {sigma:g}, which it "
            "does not remove as well: certify with its own, or train one "
            "(docs/training.md, recipe denoise)",
            stacklevel=3,
        )


@dataclass
class _Log:
    """Finished images on disk: a line of settings, then a line for each image."""

    folder: Path
    settings: dict[str, Any]

    @property
    def file(self) -> Path:
        return self.folder / RESULTS

    def open(self, resume: bool) -> dict[tuple[str, int], dict[str, Any]]:
        """The finished images by pixels and label."""
        first = json.dumps({"settings": self.settings}, sort_keys=True)
        if not self.file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.file, first + "\n")
            return {}
        if not resume:
            raise InputError(f"{str(self.folder)!r} holds a run; add --resume to go on with it")
        lines = self.file.read_text(encoding="utf-8").split("\n")
        if lines[0] != first:
            raise InputError(
                f"{str(self.file)!r} was made with other settings; use the same, or another folder"
            )
        finished = lines[1:-1]  # what follows the last line break was cut off
        write_text(self.file, "".join(f"{line}\n" for line in (first, *finished)))
        rows = [json.loads(line) for line in finished]
        return {(row["pixels"], row["label"]): row for row in rows}

    def add(self, row: dict[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
