"""The plan ``quick`` beside plain loops over the same cells, with attacks of torchattacks.

Both sides load the networks, attack the same photographs of the demo with the same steps and
budgets, and count right answers. The plain loops work in fp32. The first of them makes the images
of each attack and budget once, and white-box attacks once for each victim behind each defense; the
second makes attacked images anew for each cell, as a function from settings to an accuracy does.
torchattacks has no SSP, so that one is Algorithm 1, plainly (``ssp.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torchattacks
from ssp import plain
from timing import Bench, arguments
from torch import Tensor, nn

from nrpurify import defenses, evaluation, models
from nrpurify.attacks import BPDA
from nrpurify.core.images import load_batch
from nrpurify.data.demo import foolbox_photos
from nrpurify.evaluation import run
from nrpurify.models.features import feature_extractor
from nrpurify.results import Run

COUNT = 4


class Loop:
    """The cells of a run, one after the other."""

    def __init__(self, cells: list[dict[str, Any]], images: Tensor, labels: Tensor) -> None:
        self.cells, self.images, self.labels = cells, images, labels

    def __call__(self, *, keep: bool) -> list[float]:
        """The accuracy of each cell; ``keep`` attacked images for other cells."""
        self.load: Callable[[str], nn.Module] = _once(models.load_classifier)
        self.defense: Callable[[str], nn.Module] = _once(defenses.make)
        self.kept: dict[Any, Tensor] = {}
        found = []
        for cell in self.cells:
            white_box = cell["threat"] in ("BPDA", "full gradient")
            key = (cell["attack"], cell["eps"], cell["threat"])
            key += (cell["defense"], cell["victim"]) if white_box else ()
            if not keep or key not in self.kept:
                self.kept[key] = self.attack(cell)
            defended = self.defense(cell["defense"])(self.kept[key])
            with torch.no_grad():
                right = self.load(cell["victim"])(defended).argmax(1) == self.labels
            found.append(float(right.float().mean()))
        return found

    def attack(self, cell: dict[str, Any]) -> Tensor:
        """Attacked images of one cell."""
        name, eps = cell["attack"], cell["eps"]
        if name == "clean":
            return self.images
        if name == "ssp":
            body = feature_extractor("vgg16", "conv3_3")
            return plain(self.images, lambda x: body(x)[0], 30, eps)()
        if name == "mi-fgsm":
            model = self.load(cell["surrogate"])
            attack: Any = torchattacks.MIFGSM(model, eps=eps, alpha=eps / 10, steps=10)
        else:
            defense = self.defense(cell["defense"])
            first = BPDA(defense) if cell["threat"] == "BPDA" else defense
            model = nn.Sequential(first, self.load(cell["victim"])).eval()
            attack = torchattacks.PGD(model, eps=eps, alpha=2 / 255, steps=10)
        found: Tensor = attack(self.images, self.labels).detach()
        return found


def _once(function: Callable[[str], nn.Module]) -> Callable[[str], nn.Module]:
    made: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        if name not in made:
            made[name] = function(name).eval()
        return made[name]

    return get


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=int, default=2, help="of the demo's 20")
    args = parser.parse_args()
    bench = Bench("grid", args)
    plan, _ = evaluation.read_plan("quick")
    count = 20 if args.full else args.photos
    plan = replace(plan, data=replace(plan.data, limit=count), group=min(count, plan.group))
    photos = foolbox_photos()[:count]
    images = load_batch([photo.path for photo in photos], 224, crop=True)
    for name in plan.victims:
        models.load_classifier(name)  # imports count for no side
    runs: list[Run] = []

    def ours() -> None:
        runs.append(run(plan, items=photos))

    def loop(keep: bool) -> None:
        cells = runs[-1].to_dict()["cells"]
        Loop(cells, images, torch.tensor([photo.label for photo in photos]))(keep=keep)

    sides = {
        "nrpurify grid quick": ours,
        "plain loop, attacked images kept": lambda: loop(True),
        "plain loop, each cell for itself": lambda: loop(False),
    }
    bench.row(f"quick: 36 cells of {count} photographs", sides, warm=False)
    bench.write()


if __name__ == "__main__":
    main()
