"""The main job on real photographs: attack, purify, classify, report."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.errors import MissingExtraError
from nrpurify.evaluation.folder import evaluate_images
from nrpurify.evaluation.harness import Views
from nrpurify.evaluation.plan import Plan
from nrpurify.files import write_json
from nrpurify.labels import LabeledImage
from nrpurify.models import imagenet_classes
from nrpurify.report import Panel, Strip, difference_panel, write_demo

SHOWN = "efficientnet_lite0"
"""The victim whose answers the report's photographs carry."""


def foolbox_photos() -> list[LabeledImage]:
    """The 20 labeled ImageNet photographs that the foolbox package ships.

    Raises:
        MissingExtraError: foolbox is not installed.
    """
    found = importlib.util.find_spec("foolbox")
    if found is None or found.origin is None:
        raise MissingExtraError("foolbox", "demo")
    photos = Path(found.origin).parent.glob("data/imagenet_*.jpg")
    return [LabeledImage(path, int(path.stem.split("_")[-1])) for path in sorted(photos)]


@dataclass
class _Strips:
    """Collects the pictures of the report while the evaluation runs."""

    shown: str
    strips: list[Strip] = field(default_factory=list)

    def __call__(self, views: Views, logits: dict[str, dict[str, Tensor]]) -> None:
        for row in range(len(views.labels)):
            self.strips.append(_strip(views, logits[self.shown], row))


def _strip(views: Views, logits: dict[str, Tensor], row: int) -> Strip:
    label = int(views.labels[row])
    clean, attacked, purified = (
        _panel(title, views.images[key][row], logits[key][row], label)
        for key, title in (("clean", "Clean"), ("attacked", "Attacked"), ("purified", "Purified"))
    )
    difference = difference_panel(clean.image, attacked.image)
    panels = [clean, attacked, difference, purified]
    return Strip(Path(views.names[row]).name, imagenet_classes()[label], panels)


def _panel(title: str, image: Tensor, logits: Tensor, label: int) -> Panel:
    confidence, index = logits.softmax(0).max(0)
    return Panel(
        title,
        image.float().cpu(),
        imagenet_classes()[int(index)],
        float(confidence),
        int(index) == label,
    )


def run_demo(
    out: str | Path = "out/demo",
    *,
    plan: Plan | None = None,
    items: Sequence[LabeledImage] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run the main job and write ``report.html`` and ``results.json`` into ``out``.

    Args:
        out: Folder for the two files.
        plan: What to do; by default SSP on VGG16 conv3_3 at eps 16/255, the shipped purifier, and
            five victims that neither has seen.
        items: Labeled photographs; by default :func:`foolbox_photos`.
        watch: Called with (images done, images in all).

    Returns:
        The results as written.

    Raises:
        MissingExtraError: A package of the extra ``demo`` is not installed.
        WeightsError: Weights cannot be fetched.
    """
    items = foolbox_photos() if items is None else items
    plan = plan or Plan()
    plan = replace(plan, batch=min(plan.batch, 5))
    shown = SHOWN if SHOWN in plan.victims else plan.victims[0]
    strips = _Strips(shown)
    result = evaluate_images(items, plan, observe=strips, watch=watch).result
    folder = Path(out)
    write_json(folder / "results.json", result)
    write_demo(folder / "report.html", result, strips.strips, victim=shown)
    return result
