"""Time of purifiers beside ResNet-50, one 224×224 image, eager PyTorch on the CPU."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torchvision.models import resnet50

from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.purifiers import build_purifier, load_purifier, shipped


def once(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def runner(network: torch.nn.Module, amp: bool) -> Callable[[], object]:
    network = network.eval().to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode(), autocast(image.device, amp):
            return network(image)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--designs", nargs="+", default=["fast", "tiny", "fast-rrdb"])
    args = parser.parse_args()
    amp = bf16_is_fast(torch.device("cpu"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, "
          f"{'bf16' if amp else 'fp32'}, {args.runs} runs in turn, milliseconds")  # fmt: skip
    torch.manual_seed(0)
    sides = {"resnet50": runner(resnet50(), amp)}
    sides |= {
        name: runner(load_purifier(name) if name in shipped() else build_purifier(name), amp)
        for name in args.designs
    }
    for _ in range(3):
        for run in sides.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.runs):
        for name, run in sides.items():
            times[name].append(once(run))
    base = statistics.median(times["resnet50"])
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:12} {median:8.1f}  [{low:.1f}, {high:.1f}]  {median / base:.2f} × ResNet-50")


if __name__ == "__main__":
    main()
