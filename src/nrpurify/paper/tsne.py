"""Appendix figure 3: t-SNE of logits and of features, class by class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import MissingExtraError
from nrpurify.models import features
from nrpurify.paper import plots
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.provenance import hashes, images_digest, photographs
from nrpurify.paper.runfolder import result, run_of
from nrpurify.results import Estimate

LAYER = "conv3_3"
VIEWS = 12
"""Random crops of each image; an image's crops are one class."""


def views(images: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random crops, 3/4 of the side, some mirrored: count·N×3×H'×W' and the numbers of images."""
    side = images.shape[-1] * 3 // 4
    found, owners = [], []
    for owner, image in enumerate(images):
        for _ in range(count):
            top, left = torch.randint(
                images.shape[-1] - side + 1, (2,), generator=generator, device="cpu"
            )
            crop = image[:, top : top + side, left : left + side]
            mirrored = bool(torch.randint(2, (), generator=generator, device="cpu"))
            found.append(crop.flip(-1) if mirrored else crop)
            owners.append(owner)
    return torch.stack(found), torch.tensor(owners)


@torch.no_grad()
def _spaces(classifier: nn.Module, extractor: nn.Module, crops: Tensor) -> dict[str, Tensor]:
    parts = torch.split(crops, 8)
    pooled = [F.adaptive_avg_pool2d(extractor(part)[0], 7).flatten(1) for part in parts]
    logits = [classifier(part) for part in parts]
    return {"logits": torch.cat(logits).cpu(), f"VGG16 {LAYER}": torch.cat(pooled).cpu()}


def embed(points: Tensor, seed: int) -> Any:
    """t-SNE in two dimensions of N×D points, as an array N×2.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "paper") from error
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points.numpy())


def purity(points: Tensor, owners: Tensor) -> float:
    """Share of N×D points whose nearest neighbor is of the same class."""
    distances = torch.cdist(points.double(), points.double())
    distances.fill_diagonal_(float("inf"))
    return float((owners[distances.argmin(1)] == owners).double().mean())


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Draw both spaces, and count neighbors of one class."""
    images, _, _ = bench.load(bench.pick(4, 20, 20))
    crops, owners = views(images, VIEWS, bench.generator())
    classifier = bench.classifier("VGG16")
    extractor = features.feature_extractor("vgg16", LAYER).to(bench.device)
    spaces = _spaces(classifier, extractor, crops)
    weights = hashes(bench, {classifier.name: classifier, "features of vgg16": extractor})
    decides = {"images": images_digest(bench, len(images)), "weights": weights, "crops": VIEWS}
    clouds, cells, places = {}, [], {}
    for name, points in spaces.items():
        flat = np.asarray(embed(points, bench.seed))
        rows = zip(flat, owners.tolist(), strict=True)
        clouds[name] = [(float(x), float(y), owner) for (x, y), owner in rows]
        found = Estimate(purity(points, owners), 0, 1, len(points))  # crops are not independent
        made = result(bench, found, decides, victim=name, metric="same-class nearest neighbors")
        cells.append(replace(made, interval=None))
        places[made.id] = (name, "same-class nearest neighbors")
    plots.clouds(bench.out / "tsne.svg", clouds, title="Appendix figure 3")
    title = "Appendix figure 3: logits and features"
    run = run_of(
        bench,
        "appendix-figure3",
        title,
        cells,
        data=[photographs(bench, len(images))],
        weights=weights,
        settings={"classifier": classifier.name, "layer": LAYER, "crops": VIEWS},
    )
    here = ", ".join(f"{c.victim}: {c.value:.0%} of nearest neighbors" for c in cells)
    return Outcome(
        run, places, [Finding(experiment.claims[0], f"{here} are of the same class")], ["tsne.svg"]
    )
