"""Top-5 accuracy: asked of the same attacked images as the top-1 accuracy of a grid."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nrpurify import models
from nrpurify.evaluation.finite import check_finite
from nrpurify.paper.attacked import attacked_images
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Outcome
from nrpurify.paper.smoke import tiny_classifier
from nrpurify.results import Result, wilson_interval, write_run


@torch.no_grad()
def top5(network: nn.Module, images: Tensor, labels: Tensor, batch: int = 10) -> int:
    """How many of N×3×H×W images in [0, 1] have their label among the first five answers."""
    right = 0
    for part, truth in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
        scores = network(part)
        check_finite(
            scores, [f"image {number + 1}" for number in range(len(part))], "logits", "none"
        )
        right += int((scores.topk(5, 1).indices == truth[:, None]).any(1).sum())
    return right


def add_top5(bench: Bench, outcome: Outcome) -> Outcome:
    """Add a cell of top-5 accuracy beside each placed cell of undefended top-1 accuracy.

    The new cells are kept in ``run.json`` under the metric ``top-5 accuracy``.
    """
    images, labels, names = bench.load()
    networks: dict[str, nn.Module] = {}
    added: list[Result] = []
    places = dict(outcome.places)
    for cell in outcome.run.cells:
        if cell.id not in places or cell.defense != "none":
            continue
        name = cell.victim
        if name not in networks:
            networks[name] = load_network(bench, name)
        shown = images if cell.attack == "clean" else attacked_images(bench.out, cell, names)
        right = top5(networks[name], shown.to(images), labels)
        more = _cell(cell, right, len(labels))
        added.append(more)
        row, column = places[cell.id]
        places[more["id"]] = (row, column.replace("T-1", "T-5"))
    run = replace(outcome.run, cells=(*outcome.run.cells, *added))
    write_run(bench.out, run)
    return replace(outcome, run=run, places=places)


def load_network(bench: Bench, name: str) -> nn.Module:
    """The network of that name at the bench's scale; a tiny random one for smoke."""
    if bench.scale == "smoke":
        return tiny_classifier(name)
    return models.load_classifier(name, device=bench.device)


def _cell(cell: Result, right: int, total: int) -> Result:
    return replace(
        cell,
        id=f"{cell.id}-top5",
        metric="top-5 accuracy",
        value=right / total,
        interval=wilson_interval(right, total),
        success=None,
        conditional_success=None,
        seconds=None,
    )
