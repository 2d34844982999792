"""Attackers who know everything: accuracy behind a defense, in percent, worst case of each image.

Each attack has the gradients of defense and victim together, gate and strength inside, and works
on the images that the attacks before it left right, as in AutoAttack: 10 steps of PGD, APGD-CE,
PGD with many small steps, and APGD-CE with BPDA (the defense's gradient is taken for the
identity's). So the last column is the accuracy under the strongest attack of each image.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from timing import write_table
from torch import Tensor, nn

from nrpurify import attacks
from nrpurify.core.images import load_batch
from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.data.labels import labeled_images
from nrpurify.defenses import Protected
from nrpurify.models import load_classifier
from nrpurify.purifiers import load_purifier


def stages(
    whole: nn.Module, hidden: nn.Module, eps: float, steps: int
) -> list[tuple[nn.Module, str]]:
    """The attacks in order, each with the model whose gradient it follows."""
    apgd = f"apgd-ce:steps={steps},restarts=1"
    return [
        (whole, f"pgd:steps=10,step_size={eps / 4}"),
        (whole, apgd),
        (whole, f"pgd:steps={steps},step_size={2.5 * eps / steps}"),
        (hidden, apgd),
    ]


def batches(left: Tensor, size: int) -> Iterable[Tensor]:
    """The indices of the images that are left, in batches."""
    return left.nonzero().flatten().split(size) if left.any() else ()


def attacked_right(
    model: nn.Module, attack: str, images: Tensor, labels: Tensor, eps: float, amp: bool
) -> Tensor:
    """Which of the images a model answers rightly after an attack through all of it."""
    generator = torch.Generator().manual_seed(0)
    moved = attacks.create(attack)(model, images, labels, eps=eps, generator=generator, amp=amp)
    return right(model, moved, labels, amp)


def right(model: nn.Module, images: Tensor, labels: Tensor, amp: bool) -> Tensor:
    """Which images a model answers rightly."""
    with torch.inference_mode(), autocast(images.device, amp):
        return model(images).argmax(1) == labels


def share(right: Tensor) -> float:
    """In percent."""
    return 100 * int(right.sum()) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--purifiers", nargs="+", default=["fast", "tiny"])
    parser.add_argument("--victim", default="efficientnet_lite0")
    parser.add_argument("--eps", type=int, nargs="+", default=[1, 2, 4], help="in 255ths")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the JSON here and not to results/")
    args = parser.parse_args()
    amp = bf16_is_fast(torch.device("cpu"))
    items = labeled_images(args.images, args.labels).items[args.skip : args.skip + args.limit]
    labels = torch.tensor([item.label for item in items])
    clean = load_batch([item.path for item in items], 224, crop=True)
    victim = load_classifier(args.victim)
    rows = []
    for name in ("none", *args.purifiers):
        defense = nn.Identity() if name == "none" else load_purifier(name)
        whole, hidden = Protected(victim, defense), Protected(victim, attacks.BPDA(defense))
        parts = list(zip(clean.split(args.batch), labels.split(args.batch), strict=True))
        start = torch.cat([right(whole, part, wanted, amp) for part, wanted in parts])
        for eps in args.eps:
            left, row = start.clone(), [name, eps, share(start)]
            for model, attack in stages(whole, hidden, eps / 255, args.steps):
                for indices in batches(left, args.batch):
                    left[indices] = attacked_right(
                        model, attack, clean[indices], labels[indices], eps / 255, amp
                    )
                row.append(share(left))
            rows.append(row)
            print(row, flush=True)
    write_table(
        "adaptive",
        f"Attacks through the purifier and {args.victim}, {len(items)} images of ImageNet-NeurIPS "
        f"from number {args.skip + 1} by file name, 224 pixels, {'bf16' if amp else 'fp32'}; "
        "accuracy in percent after each attack on the images that those before it left right",
        {"defense": 0, "eps, of 255": 0, "clean": 1, "PGD, 10 steps": 1,
         f"then APGD-CE, {args.steps}": 1, f"then PGD, {args.steps}": 1,
         f"then BPDA, APGD-CE, {args.steps}": 1},
        rows,
        threads=torch.get_num_threads(),
        out=args.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
