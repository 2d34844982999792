"""Processor time of defenses for one 224×224 image, one thread, fp32, one pass of each.

Processor time and not the clock's: other work on the machine disturbs it little.
"""

import platform
import time
from functools import partial

import torch
from timing import arguments, in_turn, summary

from nrpurify import defenses
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.purifiers import build_purifier

SPECS = ["jpeg", "tvm:weight=10", "tvm:weight=30", "median", "rp", "nips-r3", "noise", "wavelet"]
DESIGNS = ["fast", "hgd", "ape-gan", "edsr"]


def photo() -> torch.Tensor:
    """Smooth noise: what codecs and denoisers meet, without a file."""
    noise = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return ((smoother(gaussian_kernel())(noise) - 0.5) * 4 + 0.5).clamp(0, 1)


@torch.inference_mode()
def once(defense: torch.nn.Module, image: torch.Tensor) -> float:
    start = time.process_time()
    defense(image)
    return time.process_time() - start


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(repeats=12, threads=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} thread(s), {platform.machine()}, "
          f"{args.repeats} runs in turn, milliseconds")  # fmt: skip
    sides = {spec: defenses.make(spec) for spec in SPECS}
    sides |= {f"{name} (network)": build_purifier(name).eval() for name in DESIGNS}
    image = photo()
    works = {name: partial(once, defense, image) for name, defense in sides.items()}
    for name, taken in in_turn(works, args.repeats).items():
        low, median, high = (1000 * summary(taken)[key] for key in ("low", "median", "high"))
        print(f"{name:20} {median:8.1f}  [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    main()
