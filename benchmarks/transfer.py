"""Transfer of attacks: accuracy of victims on images that were attacked on another network.

Rows are our attacks at the settings of the paper's tables, those that need no classifier on VGG16
and the others on one classifier, and, with --rivals, the same attacks of other packages at equal
budget, steps and step size. Needs the `all` extra and, for rivals, the `oracles` group.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify.attacks import registry
from nrpurify.core.errors import ImageError
from nrpurify.core.files import write_json
from nrpurify.core.images import load_batch
from nrpurify.data.labels import labeled_images
from nrpurify.models import load_classifier
from nrpurify.models.features import feature_extractor

Attack = Callable[[Tensor, Tensor], Tensor]
VICTIMS = ["efficientnet_lite1", "efficientnet_lite2", "squeezenet1_1", "mobilenet_v1_025"]
STEPS = 10


def ours(
    surrogate: Any, names: list[str], eps: float, ssp_steps: int
) -> Iterator[tuple[str, Attack]]:
    vgg16 = feature_extractor("vgg16", "conv3_3") if "ssp" in names else None
    for name in names:
        entry = registry.get(name)
        model = {"features": vgg16, "classifier": surrogate, "none": None}[entry.surrogate]
        options = {"steps": ssp_steps} if name == "ssp" else {}

        def attack(
            images: Tensor,
            labels: Tensor,
            entry: Any = entry,
            model: Any = model,
            options: Any = options,
        ) -> Tensor:
            generator = torch.Generator().manual_seed(0)
            result: Tensor = entry.function(
                model, images, labels, eps=eps, generator=generator, **options
            )
            return result

        yield name, attack


def rivals(surrogate: Any, eps: float) -> Iterator[tuple[str, Attack]]:
    import torchattack
    import torchattacks

    step = eps / STEPS
    here = {"model": surrogate, "device": torch.device("cpu"), "eps": eps}
    yield "fgsm (torchattacks)", torchattacks.FGSM(surrogate, eps)
    yield "fgsm (torchattack)", torchattack.FGSM(**here)
    yield "i-fgsm (torchattacks)", torchattacks.BIM(surrogate, eps, step, STEPS)
    yield "i-fgsm (torchattack)", torchattack.IFGSM(**here, steps=STEPS, alpha=step)
    yield "pgd (torchattacks)", torchattacks.PGD(surrogate, eps, 2 / 255, STEPS)
    yield "pgd (torchattack)", torchattack.PGD(**here, steps=STEPS, alpha=2 / 255)
    yield "mi-fgsm (torchattacks)", torchattacks.MIFGSM(surrogate, eps, step, STEPS, decay=1.0)
    yield "mi-fgsm (torchattack)", torchattack.MIFGSM(**here, steps=STEPS, alpha=step)
    yield (
        "dim (torchattacks)",
        torchattacks.DIFGSM(surrogate, eps, step, STEPS, decay=1.0, diversity_prob=0.7),
    )
    yield (
        "dim (torchattack)",
        torchattack.DIFGSM(**here, steps=STEPS, alpha=step, diversity_prob=0.7),
    )
    yield "mi-fgsm-ti (torchattack)", torchattack.TIFGSM(**here, steps=STEPS, alpha=step)
    yield (
        "dim-ti (torchattacks)",
        torchattacks.TIFGSM(surrogate, eps, step, STEPS, decay=1.0, diversity_prob=0.7),
    )


def load(folder: Path, labels: Path, limit: int, size: int) -> tuple[Tensor, Tensor]:
    images, classes = [], []
    for item in labeled_images(folder, labels).items[:limit]:
        try:
            images.append(load_batch([item.path], size, crop=True))
        except ImageError as error:
            print(error)
            continue
        classes.append(item.label)
    return torch.cat(images), torch.tensor(classes)


def accuracy(victims: dict[str, Any], images: Tensor, labels: Tensor) -> dict[str, float]:
    found = {}
    with torch.inference_mode():
        for name, victim in victims.items():
            answers = torch.cat([victim(part).argmax(1) for part in torch.split(images, 10)])
            found[name] = float((answers == labels).float().mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--eps", type=float, default=16, help="in 1/255")
    parser.add_argument("--surrogate", default="efficientnet_lite0")
    parser.add_argument("--victims", nargs="+", default=VICTIMS)
    parser.add_argument("--attacks", nargs="+", default=registry.names())
    parser.add_argument("--ssp-steps", type=int, default=100)
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    images, labels = load(args.folder, args.labels, args.limit, args.size)
    surrogate = load_classifier(args.surrogate)
    victims = {name: load_classifier(name) for name in args.victims}
    attacks = list(ours(surrogate, args.attacks, args.eps / 255, args.ssp_steps))
    if args.rivals:
        attacks += rivals(surrogate, args.eps / 255)
    rows = {"none": {**accuracy(victims, images, labels), "seconds": 0.0}}
    print("|", " | ".join(["attack", *victims, "mean", "s an image"]), "|", flush=True)
    for name, attack in [("none", lambda x, y: x), *attacks]:
        torch.manual_seed(0)
        start = time.perf_counter()
        attacked = torch.cat(
            [
                attack(x, y)
                for x, y in zip(torch.split(images, 10), torch.split(labels, 10), strict=True)
            ]
        ).detach()
        seconds = (time.perf_counter() - start) / len(images)
        worst = float((attacked - images).abs().max())
        assert worst <= args.eps / 255 + 1e-6, f"{name}: {255 * worst}"
        row = accuracy(victims, attacked, labels)
        rows[name] = {**row, "seconds": seconds}
        cells = [f"{100 * value:.0f}" for value in row.values()]
        mean = 100 * sum(row.values()) / len(row)
        print("|", " | ".join([name, *cells, f"{mean:.1f}", f"{seconds:.2f}"]), "|", flush=True)
        if args.out:
            write_json(args.out, {"n": len(images), "eps": args.eps / 255, "rows": rows})


if __name__ == "__main__":
    main()
