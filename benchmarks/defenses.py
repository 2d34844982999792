"""Processor time of defenses for one 224×224 image, one thread, fp32, one pass of each.

Processor time and not the clock's: other work on the machine disturbs it little.
"""

import argparse
import platform
import statistics
import time

import torch

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
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, {platform.machine()}, "
          f"{args.runs} runs in turn, milliseconds")  # fmt: skip
    sides = {spec: defenses.make(spec) for spec in SPECS}
    sides |= {f"{name} (network)": build_purifier(name).eval() for name in DESIGNS}
    image = photo()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(args.runs + 1):
        for name, defense in sides.items():
            taken = once(defense, image)
            if run >= 1:
                times[name].append(taken)
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:20} {median:8.1f}  [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    main()
