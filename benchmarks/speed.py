"""Purifiers and other defenses beside ResNet-50 at the same precision, eager PyTorch."""

from __future__ import annotations

import torch
from timing import Bench, Work, arguments
from torchvision.models import resnet50

from nrpurify import defenses
from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.purifiers import build_purifier, load_purifier, shipped

SIZES = {
    "1 × 224²": (1, 224, 224),
    "8 × 224²": (8, 224, 224),
    "1 × 1080p": (1, 1080, 1920),
}
FULL = {
    "32 × 224²": (32, 224, 224),
    "8 × 299²": (8, 299, 299),
    "1 × 12 megapixels": (1, 3000, 4000),
}
OTHERS = ("micro", "fast-rrdb", "resg", "unet", "nrp")
"""Designs without shipped weights."""
DEFENSES = ("jpeg:quality=75", "tvm:weight=30", "median:size=3")


def network(module: torch.nn.Module, images: torch.Tensor, amp: bool) -> Work:
    """One forward pass."""
    module = module.eval().to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode(), autocast(images.device, amp):
            return module(images)

    return run


def purify(name: str, images: torch.Tensor, amp: bool) -> Work:
    """What users call: tiles, strength and gate included."""
    purifier = load_purifier(name) if name in shipped() else build_purifier(name).eval()
    purifier.network.to(memory_format=torch.channels_last)
    return lambda: purifier.purify(images, amp=amp)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--designs", nargs="+", default=["fast", "tiny"])
    args = parser.parse_args()
    bench = Bench("speed", args)
    torch.manual_seed(0)
    classifier = resnet50()
    sizes = {**SIZES, **FULL} if args.full else SIZES
    for amp in (False, True) if bf16_is_fast(torch.device("cpu")) else (False,):
        precision = "bf16" if amp else "fp32"
        for size, (count, height, width) in sizes.items():
            images = torch.rand(count, 3, height, width)
            sides = {name: purify(name, images, amp) for name in args.designs}
            if args.full and size == "1 × 224²":
                sides |= {name: purify(name, images, amp) for name in OTHERS}
            sides["ResNet-50"] = network(classifier, images, amp)
            if not amp:
                sides |= {spec: _defense(spec, images) for spec in DEFENSES}
            bench.row(f"{size}, {precision}", sides)
            bench.write()


def _defense(spec: str, images: torch.Tensor) -> Work:
    defense = defenses.make(spec)
    return lambda: defense(images)


if __name__ == "__main__":
    main()
