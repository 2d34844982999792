"""Pictures of a grid for its report: clean, attacked, purified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.errors import MissingExtraError
from nrpurify.evaluation.adversaries import slug
from nrpurify.evaluation.bench import Bench, answers
from nrpurify.evaluation.cells import is_own_surrogate, units
from nrpurify.evaluation.harness import Batch
from nrpurify.images import write_png
from nrpurify.models import imagenet_classes

SHOWN = 3


def write_strips(bench: Bench, folder: Path) -> list[dict[str, Any]]:
    """Write pictures of the first images under the largest transfer, behind the last defense.

    Args:
        bench: After its cells were measured.
        folder: Where the PNG files go.

    Returns:
        One entry an image, ``name``, ``label`` and ``panels``; none without a transfer and a
        defense.
    """
    found = [u for u in units(bench.recipe) if u.attack is not None and u.attack.transfers]
    defended = [unit for unit in found if unit.defense != "none"]
    if not defended:
        return []
    unit = max(defended, key=lambda unit: (unit.eps or 0, unit.defense == defended[-1].defense))
    others = [name for name in unit.victims if not is_own_surrogate(unit, name)]
    victim = (others or list(unit.victims))[0]
    batch = bench.photos.batch(0, bench.recipe.batch)
    assert unit.attack is not None
    assert unit.eps is not None
    adversaries = bench.adversaries(unit.attack, unit.index, unit.eps)
    attacked = adversaries.get(0, batch, bench.photos.hashes[: bench.recipe.batch])[:SHOWN]
    clean = Batch(batch.images[:SHOWN], batch.labels[:SHOWN], batch.names[:SHOWN])
    purified = bench.networks.defense(unit.defense)(attacked).detach()
    images = {"clean": clean.images, "attacked": attacked, "purified": purified}
    titles = {"clean": "Clean", "attacked": unit.title, "purified": f"Behind {unit.defense}"}
    return _write(bench, clean, images, titles, victim, folder)


def _write(
    bench: Bench,
    batch: Batch,
    images: dict[str, Tensor],
    titles: dict[str, str],
    victim: str,
    folder: Path,
) -> list[dict[str, Any]]:
    network, none = {victim: bench.networks.victims[victim]}, bench.networks.defense("none")
    scores = {key: answers(none, network, view, False)[victim] for key, view in images.items()}
    name_of = _class_names(bench.classes[victim])
    strips = []
    for row, name in enumerate(batch.names):
        panels, label = [], int(batch.labels[row])
        for key, view in images.items():
            file = f"{slug(name)}--{key}.png"
            write_png(folder / file, view[row].float())
            share, index = (float(value) for value in scores[key][row].softmax(0).max(0))
            caption = f"{victim}: {name_of(int(index))} ({share:.0%})"
            panels.append(
                {
                    "title": titles[key],
                    "file": file,
                    "caption": caption,
                    "correct": int(index) == label,
                }
            )
        strips.append({"name": name, "label": name_of(label), "panels": panels})
    return strips


def _class_names(classes: int) -> Callable[[int], str]:
    """ImageNet's names for 1000 classes where torchvision knows them, else numbers."""
    try:
        names = imagenet_classes() if classes == 1000 else []
    except MissingExtraError:
        names = []
    return lambda index: names[index] if names else f"class {index}"
