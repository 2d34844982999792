"""Gradient attacks beside torchattacks, torchattack, foolbox and ART: same steps, same budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import foolbox
import numpy as np
import timm
import torch
import torchattack
import torchattacks
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from timing import Bench, Work, arguments
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from nrpurify import attacks
from nrpurify.core.precision import bf16_is_fast

EPS, STEPS = 8 / 255, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": resnet18,
    "ResNet-50": resnet50,
    "ViT-S/16": lambda: timm.create_model("vit_small_patch16_224", pretrained=False),
}


class Normalized(nn.Module):
    """A network for images in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Logits of N×3×H×W images in [0, 1]."""
        return self.network((images - self.mean) / self.std)


def ours(spec: str, model: nn.Module, images: Tensor, labels: Tensor, amp: bool = False) -> Work:
    attack = attacks.create(spec)
    return lambda: attack(model, images, labels, eps=EPS, amp=amp)


def rivals(name: str, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Work]:
    """The same attack of other libraries, where they have it."""
    alpha = EPS / STEPS
    found: dict[str, Work] = {}
    if name in ("FGSM", "PGD", "MI-FGSM"):
        classes = {"FGSM": "FGSM", "PGD": "PGD", "MI-FGSM": "MIFGSM"}
        options = {} if name == "FGSM" else {"alpha": alpha, "steps": STEPS}
        theirs = getattr(torchattacks, classes[name])(model, eps=EPS, **options)
        found["torchattacks"] = lambda: theirs(x, y)
        other = getattr(torchattack, classes[name])(model, eps=EPS, **options)
        found["torchattack"] = lambda: other(x, y)
    if name == "DIM":
        dim = torchattacks.DIFGSM(
            model, eps=EPS, alpha=alpha, steps=STEPS, decay=1, resize_rate=1.1, diversity_prob=0.7
        )
        found["torchattacks"] = lambda: dim(x, y)
    if name == "TI-FGSM":
        ti = torchattacks.TIFGSM(
            model, eps=EPS, alpha=alpha, steps=STEPS, decay=1, resize_rate=1.1, diversity_prob=0
        )
        found["torchattacks"] = lambda: ti(x, y)
    if name == "APGD":
        apgd = torchattacks.APGD(model, eps=EPS, steps=STEPS, n_restarts=1)
        found["torchattacks"] = lambda: apgd(x, y)
    if name == "Square":
        square = torchattacks.Square(model, eps=EPS, n_queries=100, n_restarts=1)
        found["torchattacks"] = lambda: square(x, y)
    if name in ("FGSM", "PGD"):
        found |= _foolbox(name, model, x, y) | _art(name, model, x, y)
    return found


def _foolbox(name: str, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Work]:
    inner = foolbox.PyTorchModel(model, bounds=(0, 1))
    options = {"steps": STEPS, "abs_stepsize": EPS / STEPS}
    attack: Any = (
        foolbox.attacks.LinfFastGradientAttack()
        if name == "FGSM"
        else foolbox.attacks.LinfProjectedGradientDescentAttack(**options)
    )
    return {"foolbox": lambda: attack(inner, x, y, epsilons=EPS)}


def _art(name: str, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Work]:
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), x.shape[1:], 1000, clip_values=(0, 1)
    )
    options = {"eps": EPS, "batch_size": len(x)}
    attack: Any = (
        evasion.FastGradientMethod(classifier, **options)
        if name == "FGSM"
        else evasion.ProjectedGradientDescentPyTorch(
            classifier,
            eps_step=EPS / STEPS,
            max_iter=STEPS,
            num_random_init=1,
            verbose=False,
            **options,
        )
    )
    images, labels = x.numpy(), np.eye(1000, dtype=np.float32)[y.numpy()]
    return {"ART": lambda: attack.generate(images, labels)}


SPECS = {
    "FGSM": "fgsm",
    "PGD": f"pgd:steps={STEPS},step_size={EPS / STEPS}",
    "MI-FGSM": f"mi-fgsm:steps={STEPS}",
    "DIM": f"dim:steps={STEPS}",
    "TI-FGSM": f"mi-fgsm-ti:steps={STEPS}",
    "APGD": f"apgd-ce:steps={STEPS}",
    "Square": "square:steps=100",
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--attacks", nargs="+", default=list(SPECS), choices=list(SPECS))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), help="default: ResNet-18")
    parser.add_argument("--sizes", nargs="+", type=int, help="images of a batch; default: 1 8")
    args = parser.parse_args()
    bench = Bench("attacks", args)
    half = bf16_is_fast(torch.device("cpu"))
    for network in args.networks or (list(NETWORKS) if args.full else ["ResNet-18"]):
        torch.manual_seed(0)
        model = Normalized(NETWORKS[network]()).eval()
        for size in args.sizes or ((1, 8, 32) if args.full else (1, 8)):
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(size, 3, 224, 224, generator=generator)
            with torch.no_grad():  # its own answers, or attacks that stop early would not begin
                labels = model(images).argmax(1)
            for name in args.attacks:
                sides = {"nrpurify": ours(SPECS[name], model, images, labels)}
                if half:
                    sides["nrpurify bf16"] = ours(SPECS[name], model, images, labels, amp=True)
                sides |= rivals(name, model, images, labels)
                bench.row(f"{name}, {network}, batch {size}", sides)
                bench.write()


if __name__ == "__main__":
    main()
