"""What an attacker gains who knows a purifier's gate: opens it on clean images, or keeps it shut.

*opened*: ascent on the gate's logit from clean images. *shut*: MI-FGSM on the surrogate whose loss
also falls with the softplus of the logit. The attacker has the gradients of gate and network, but
not of what the victim sees behind them; docs/attacks.md has attacks through everything. Images are
rounded to 8 bits. Accuracy is the mean of the victims, in percent.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timing import write_table
from torch import Tensor

from nrpurify.attacks.gradient import sign_gradient_ascent
from nrpurify.core.images import from_uint8, load_batch, to_uint8
from nrpurify.data.labels import labeled_images
from nrpurify.models import Classifier, load_classifier
from nrpurify.purifiers import Purifier, load_purifier

STEPS = 10


def logits(purifier: Purifier, images: Tensor) -> Tensor:
    """The gate's N logits, differentiable in the images; sides are multiples of the network's."""
    if purifier.gate is None:
        raise SystemExit("error: this purifier has no gate; expected one such as fast or tiny")
    return purifier.gate.logits(images, purifier.network(images))


def opened(purifier: Purifier, images: Tensor, eps: float) -> Tensor:
    """Push the gate open on clean images."""
    return sign_gradient_ascent(
        images, lambda x: logits(purifier, x), eps=eps, steps=STEPS, step_size=eps / 4
    )


def transfer(
    surrogate: Classifier, purifier: Purifier, images: Tensor, eps: float, weight: float
) -> Tensor:
    """MI-FGSM away from the surrogate's prediction; ``weight`` of keeping the gate shut."""
    with torch.no_grad():
        own = surrogate(images).argmax(1)

    def objective(x: Tensor) -> Tensor:
        loss = F.cross_entropy(surrogate(x), own, reduction="none")
        return loss - weight * F.softplus(logits(purifier, x)) if weight else loss

    return sign_gradient_ascent(
        images, objective, eps=eps, steps=STEPS, step_size=eps / STEPS, momentum=1.0
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--surrogate", default="efficientnet_lite0")
    parser.add_argument("--victims", nargs="+", default=[f"efficientnet_lite{k}" for k in (1, 2)])
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the JSON here and not to results/")
    args = parser.parse_args()
    purifier = load_purifier(args.purifier)
    surrogate = load_classifier(args.surrogate)
    victims = [load_classifier(name) for name in args.victims]
    items = labeled_images(args.images, args.labels).items[: args.limit]
    labels = torch.tensor([item.label for item in items])
    clean = load_batch([item.path for item in items], 224, crop=True)
    rows = {"clean": clean}
    chunks = clean.split(args.batch)
    for level in (2, 4):
        rows[f"clean, gate opened, {level}/255"] = torch.cat(
            [opened(purifier, part, level / 255) for part in chunks]
        )
    for level in (4, 16):
        for weight, name in ((0.0, ""), (1.0, ", gate kept shut")):
            rows[f"MI-FGSM {level}/255{name}"] = torch.cat(
                [transfer(surrogate, purifier, part, level / 255, weight) for part in chunks]
            )
    lines: list[list[Any]] = []
    ungated = load_purifier(args.purifier, gate=False)
    for name, attacked in rows.items():
        images = from_uint8(to_uint8(attacked))
        with torch.inference_mode():
            opens = torch.cat([logits(purifier, part) > 0 for part in images.split(args.batch)])
            seen = [images, *(torch.cat([p(part) for part in images.split(args.batch)])
                              for p in (purifier, ungated))]  # fmt: skip
            hits = [torch.stack([v(x).argmax(1) == labels for v in victims]) for x in seen]
        opened_share, *accuracies = (100 * float(one.float().mean()) for one in (opens, *hits))
        lines.append([name, round(opened_share), *(round(one, 1) for one in accuracies)])
        print(lines[-1], flush=True)
    columns = {"images": 0, "gate opens, %": 0, "none": 1, f"`{args.purifier}`": 1}
    columns[f"`{args.purifier}:gate=false`"] = 1
    title = f"{len(clean)} images, accuracy in percent, surrogate {args.surrogate}, "
    title += f"{', '.join(args.victims)}, fp32, weights {purifier.card.sha256[:8]}"
    write_table("gate", title, columns, lines, threads=torch.get_num_threads(), out=args.out)


if __name__ == "__main__":
    main()
