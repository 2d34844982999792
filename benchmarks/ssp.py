"""SSP beside torchattack and Algorithm 1 written plainly, and beside the convolutions alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchattack.ssp
from timing import Bench, Work, arguments
from torch import Tensor, nn
from torch.nn import functional as F

import nrpurify
from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.models.features import feature_extractor

EPS, STEP = 16 / 255, 0.01
CHANNELS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]


def vgg_body() -> nn.Sequential:
    """VGG16 up to relu3_3 in torchvision's layout; the weights do not change the time."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(CHANNELS):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        if index in (1, 3):
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).eval()


def plain(
    images: Tensor, body: Callable[[Tensor], Tensor], steps: int, eps: float = EPS
) -> Callable[[], Tensor]:
    """Algorithm 1 as it is printed, in fp32."""

    def run() -> Tensor:
        clean = body(images).detach()
        noise = torch.empty_like(images).uniform_(-eps, eps)
        adversarial = (images + noise).clamp(0, 1)
        for _ in range(steps):
            adversarial.requires_grad_(True)
            loss = F.mse_loss(body(adversarial), clean)
            (gradient,) = torch.autograd.grad(loss, adversarial)
            adversarial = adversarial.detach() + STEP * gradient.sign()
            adversarial = images + (adversarial - images).clamp(-eps, eps)
            adversarial = adversarial.clamp(0, 1)
        return adversarial

    return run


def theirs(images: Tensor, body: nn.Module, steps: int) -> Work:
    """torchattack's SSP, whose VGG16 comes from a hub: the same layers are put in its place."""
    attack = torchattack.SSP.__new__(torchattack.SSP)
    torchattack.Attack.__init__(attack, nn.Identity(), None, torch.device("cpu"))
    attack.eps, attack.steps, attack.alpha, attack.ssp_layer = EPS, steps, STEP, 16
    attack.clip_min, attack.clip_max, attack.targeted = 0.0, 1.0, False
    criteria = torchattack.ssp.PerceptualCriteria.__new__(torchattack.ssp.PerceptualCriteria)
    nn.Module.__init__(criteria)
    criteria.perceptual_model, criteria.loss_fn = body, nn.MSELoss()
    attack.perceptual_criteria = criteria
    labels = torch.zeros(len(images), dtype=torch.long)
    return lambda: attack(images, labels)


def convolutions(images: Tensor, steps: int, amp: bool) -> Work:
    """The convolutions alone: the clean images' forward pass, then both passes of each step."""
    body = nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in CHANNELS))
    body.requires_grad_(False).to(memory_format=torch.channels_last)
    side, inputs = images.shape[-1], []
    for index, (before, _) in enumerate(CHANNELS):
        size = side // (1 if index < 2 else 2 if index < 4 else 4)
        one = torch.rand(len(images), before, size, size)
        inputs.append(one.contiguous(memory_format=torch.channels_last).requires_grad_(True))

    def run() -> None:
        with autocast(images.device, amp):
            with torch.no_grad():
                for layer, one in zip(body, inputs, strict=True):
                    layer(one)
            for _ in range(steps):
                for layer, one in zip(body, inputs, strict=True):
                    output = layer(one)
                    torch.autograd.grad(output, one, torch.ones_like(output))

    return run


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, help="images of a batch; default: 1 8")
    args = parser.parse_args()
    bench = Bench("ssp", args)
    half = bf16_is_fast(torch.device("cpu"))
    extractor = feature_extractor("vgg16", "relu3_3", pretrained=False)
    body = vgg_body()
    for size in args.sizes or ((1, 8, 32) if args.full else (1, 8)):
        steps = 10 if size == 1 or args.full else 3
        images = torch.rand(size, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        sides: dict[str, Work] = {}
        for amp in (False, True) if half else (False,):
            attack = nrpurify.SSP(
                extractor, eps=EPS, seed=0, amp=amp, steps=steps, step_size=STEP, distance="mse"
            )
            name = "bf16" if amp else "fp32"
            sides[f"nrpurify {name}"] = lambda attack=attack, images=images: attack(images)
            sides[f"convolutions alone, {name}"] = convolutions(images, steps, amp)
        sides["Algorithm 1, plain"] = plain(images, body, steps)
        sides["torchattack"] = theirs(images, body, steps)
        bench.row(f"SSP, VGG16 relu3_3, {steps} steps, batch {size}", sides)
        bench.write()


if __name__ == "__main__":
    main()
