"""Pictures for the report: what a model sees clean, attacked, purified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.hashing import slug
from nrpurify.core.images import write_png
from nrpurify.evaluation.harness import Batch
from nrpurify.evaluation.strips import attack_words, defense_words
from nrpurify.tasks.looks import Look
from nrpurify.tasks.segmentation_cells import Attacked

SHOWN = 3
"""How many images are shown."""


@dataclass(frozen=True, eq=False)
class View:
    """An image to show: its file's place, 1×3×H×W in [0, 1], and what is there in words."""

    name: str
    image: Tensor
    label: str


@torch.no_grad()
def write_strips(
    folder: Path,
    views: Iterable[View],
    look: Look,
    attack: Attacked | None,
    defense: tuple[str, nn.Module] | None,
) -> list[dict[str, Any]]:
    """Write ``0-NAME--clean.png``, ``--attacked.png`` and ``--purified.png`` for each view.

    The number keeps apart what is left of names as letters, digits, points and dashes.

    Args:
        folder: Where they go.
        views: What to show.
        look: Draws what the model sees.
        attack: None leaves the attacked panel out; then the clean image is purified.
        defense: Its spec and itself; None leaves the purified panel out.

    Returns:
        Entries for ``strips`` in ``run.json``.
    """
    strips = []
    for number, view in enumerate(views):
        stem = slug(number, PurePath(view.name).with_suffix(""))
        panels = []
        for key, (title, image) in _versions(view, attack, defense).items():
            picture, caption = look(image[0])
            file = f"{stem}--{key}.png"
            write_png(folder / file, picture.float().cpu())
            panels.append({"title": title, "file": file, "caption": caption, "correct": None})
        strips.append({"name": view.name, "label": view.label, "panels": panels})
    return strips


def _versions(
    view: View,
    attack: Attacked | None,
    defense: tuple[str, nn.Module] | None,
) -> dict[str, tuple[str, Tensor]]:
    versions = {"clean": ("Clean", view.image)}
    shown = view.image
    if attack is not None:
        shown = attack.images(Batch(shown, torch.zeros(1, dtype=torch.int64), [view.name]))
        surrogates = [attack.surrogate] if attack.surrogate else []
        versions["attacked"] = (attack_words(attack.attack, surrogates, attack.eps), shown)
    if defense is not None:
        versions["purified"] = (defense_words(*defense), defense[1](shown))
    return versions


def strongest(attacks: Iterable[Attacked]) -> Attacked | None:
    """The first attack with the largest eps; None of none."""
    return max(attacks, key=lambda attack: attack.eps or 0, default=None)
