"""Pictures of attacked and purified images for the report: a strip an image and attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify import defenses, models
from nrpurify.core.errors import MissingExtraError
from nrpurify.core.hashing import slug
from nrpurify.core.images import write_png
from nrpurify.evaluation.gallery import defense_words
from nrpurify.models import imagenet_classes
from nrpurify.paper import trained
from nrpurify.paper.attacked import attacked_images
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Outcome
from nrpurify.results import Result


@torch.no_grad()
def add_strips(bench: Bench, outcome: Outcome, count: int) -> None:
    """Write the first ``count`` images of each attack: clean, attacked, purified, and say so."""
    images, labels, names = bench.load(count)
    spec = trained.spec(bench, "nrp")
    assert spec is not None
    purifier = defenses.make(spec, device=bench.device, seed=bench.seed)
    strips = []
    for cell in _first_cells(outcome):
        attacked = attacked_images(bench.out, cell, names).to(images)
        views = {"clean": images, "attacked": attacked, "purified": purifier(attacked)}
        heading = outcome.places[cell.id][0]
        titles = {
            "clean": "Clean",
            "attacked": f"Attacked: {heading}, ε {255 * (cell.eps or 0):.3g}/255",
            "purified": defense_words(spec, purifier),
        }
        victim = models.load_classifier(cell.victim, device=bench.device)
        for row, name in enumerate(names):
            shown = {key: view[row] for key, view in views.items()}
            strips.append(
                _strip(bench, f"{name}-{slug(heading)}", titles, shown, labels, victim, row)
            )
    outcome.run = replace(outcome.run, strips=strips)


def _first_cells(outcome: Outcome) -> Iterator[Result]:
    """One undefended cell an attack."""
    seen = set()
    for cell in outcome.run.cells:
        place = outcome.places.get(cell.id)
        if place and cell.attack != "clean" and cell.defense == "none" and place not in seen:
            seen.add(place)
            yield cell


def _strip(
    bench: Bench,
    name: str,
    titles: dict[str, str],
    shown: dict[str, Tensor],
    labels: Tensor,
    victim: nn.Module,
    row: int,
) -> dict[str, Any]:
    label = int(labels[row])
    panels = []
    for key, image in shown.items():
        file = f"{slug(name)}--{key}.png"
        write_png(bench.out / "strips" / file, image.float().cpu())
        share, index = victim(image[None])[0].softmax(0).max(0)
        panels.append(
            {
                "title": titles[key],
                "file": file,
                "caption": f"{class_name(int(index))} ({float(share):.0%})",
                "correct": int(index) == label,
            }
        )
    return {"name": name, "label": class_name(label), "panels": panels}


def class_name(index: int) -> str:
    """ImageNet's name of a class where torchvision has it, else its number."""
    try:
        return imagenet_classes()[index]
    except MissingExtraError:
        return f"class {index}"
