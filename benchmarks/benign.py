"""What a purifier does to images that nobody attacked: blurred, noisy, recoded, dark or small ones.

Each row is one benign shift of the same images, rounded to 8 bits: accuracy (mean of the victims)
without and with the purifier, the paired difference with a 95 % interval (bootstrap over images),
the share of images for which its gate opens, and the median root mean square of the change, in
255ths. A purifier without a gate has no openings.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timing import write_table
from torch import Tensor, nn

from nrpurify import defenses
from nrpurify.core.images import from_uint8, load_batch, to_uint8
from nrpurify.core.random import seeded
from nrpurify.data.labels import labeled_images
from nrpurify.models import load_classifier
from nrpurify.purifiers import Purifier, load_purifier

Shift = Callable[[Tensor, torch.Generator], Tensor]


def blurred(sigma: float) -> Shift:
    from torchvision.transforms.functional import gaussian_blur

    side = 2 * round(3 * sigma) + 1
    return lambda images, _: gaussian_blur(images, [side, side], [sigma, sigma])


def noisy(std: float) -> Shift:
    def shift(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + std * torch.randn(images.shape, generator=generator)

    return shift


def recoded(quality: int) -> Shift:
    codec = defenses.make(f"jpeg:quality={quality}")
    return lambda images, _: codec(images)


def small(side: int) -> Shift:
    return lambda images, _: F.interpolate(
        images, (side, side), mode="bicubic", antialias=True, align_corners=False
    )


SHIFTS: dict[str, Shift] = {
    "as they are": lambda images, _: images,
    "Gaussian blur, σ 1": blurred(1),
    "Gaussian blur, σ 2": blurred(2),
    "Gaussian noise, σ 4/255": noisy(4 / 255),
    "Gaussian noise, σ 8/255": noisy(8 / 255),
    "JPEG 75": recoded(75),
    "JPEG 30": recoded(30),
    "half as bright": lambda images, _: images / 2,
    "half the contrast": lambda images, _: 0.5 + (images - 0.5) / 2,
    "128 pixels": small(128),
    "64 pixels": small(64),
}


@torch.inference_mode()
def hits(victims: list[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Mean over the victims of right answers, N values."""
    answers = torch.stack([victim(images).argmax(1) for victim in victims])
    return (answers == labels).float().mean(0)


@torch.inference_mode()
def measure(
    purifier: Purifier, victims: list[nn.Module], images: Tensor, labels: Tensor, batch: int
) -> dict[str, Tensor]:
    """N values each: right answers before and after, whether the gate opens, what is changed."""
    rows = []
    for part, wanted in zip(images.split(batch), labels.split(batch), strict=True):
        purified = from_uint8(to_uint8(purifier.purify(part, amp="auto")))
        opens = purifier.score(part, amp="auto") > 0 if purifier.gate else torch.zeros(len(part))
        changed = 255 * (purified - part).square().flatten(1).mean(1).sqrt()
        before, after = (hits(victims, seen, wanted) for seen in (part, purified))
        rows.append({"before": before, "after": after, "opens": opens.float(), "rms": changed})
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def interval(values: Tensor) -> tuple[float, float]:
    """95 % interval of the mean of N values, by resampling them."""
    rows = torch.randint(len(values), (2000, len(values)), generator=seeded(0))
    low, high = values[rows].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--victims", nargs="+", default=[f"efficientnet_lite{k}" for k in (1, 2)])
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the JSON here and not to results/")
    args = parser.parse_args()
    purifier = load_purifier(args.purifier)
    victims: list[nn.Module] = [load_classifier(name) for name in args.victims]
    items = labeled_images(args.images, args.labels).items[: args.limit]
    images = load_batch([item.path for item in items], 224, crop=True)
    labels = torch.tensor([item.label for item in items])
    rows: list[list[Any]] = []
    for name, shift in SHIFTS.items():
        shifted = from_uint8(to_uint8(shift(images, seeded(0)).clamp(0, 1)))
        found = measure(purifier, victims, shifted, labels, args.batch)
        before, after, opens = (100 * float(found[k].mean()) for k in ("before", "after", "opens"))
        low, high = interval(100 * (found["after"] - found["before"]))
        gate = round(opens) if purifier.gate else "–"
        numbers = (before, after, [after - before, low, high], gate, float(found["rms"].median()))
        rows.append([name, *(_rounded(number) for number in numbers)])
        print(rows[-1], flush=True)
    columns = {"shift": 0, "none": 1, f"`{args.purifier}`": 1, "difference": 1}
    title = f"{len(images)} images, accuracy in percent, {', '.join(args.victims)}, "
    title += f"weights {purifier.card.sha256[:8] or 'without a hash'}"
    columns |= {"gate opens, %": 0, "change": 1}
    write_table("benign", title, columns, rows, threads=torch.get_num_threads(), out=args.out)


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 1) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
