"""Time of exported purifiers beside eager PyTorch, one image on the CPU, with size and parity."""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.defenses.engines import open_engine
from nrpurify.export import export
from nrpurify.export.parity import SIZES
from nrpurify.purifiers import load_purifier

SUFFIXES = {"ONNX": ".onnx", "OpenVINO": ".xml", "pt2": ".pt2"}


def eager(name: str, image: Tensor, amp: bool) -> Callable[[], object]:
    purifier = load_purifier(name)
    shown = image.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode(), autocast(image.device, amp):
            return purifier(shown)

    return run


def loaded(path: Path, image: Tensor, bf16: bool = False) -> Callable[[], object]:
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()

        def run() -> object:
            with torch.inference_mode():
                return program(image)

        return run
    engine, pixels = open_engine(path, precision="bf16" if bf16 else "f32"), image.numpy()
    return lambda: engine(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purifiers", nargs="+", default=["fast", "tiny"])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--runs", type=int, default=30)
    args = parser.parse_args()
    bf16 = bf16_is_fast(torch.device("cpu"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, "
          f"{args.side} px, {args.runs} runs in turn, milliseconds")  # fmt: skip
    torch.manual_seed(0)
    image = torch.rand(1, 3, args.side, args.side)
    for name in args.purifiers:
        sides = {"eager fp32": eager(name, image, False)}
        if bf16:
            sides["eager bf16"] = eager(name, image, True)
        with tempfile.TemporaryDirectory() as folder:
            for title, suffix in SUFFIXES.items():
                made = export(name, Path(folder) / f"{name}{suffix}", sizes=SIZES)
                worst = max(one.difference for one in made.parity)
                print(f"{name} {title}: {made.size / 1e6:.1f} MB, parity {worst:.5f}/255")
                sides[f"{title} fp32"] = loaded(made.path, image)
                if bf16 and suffix == ".xml":
                    sides[f"{title} bf16"] = loaded(made.path, image, bf16=True)
            compare(name, sides, args.runs)


def compare(name: str, sides: dict[str, Callable[[], object]], runs: int) -> None:
    times: dict[str, list[float]] = {title: [] for title in sides}
    for turn in range(runs + 3):
        for title, run in sides.items():
            start = time.perf_counter()
            run()
            if turn >= 3:
                times[title].append(1000 * (time.perf_counter() - start))
    base = statistics.median(times["eager fp32"])
    for title, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:6} {title:14} {median:8.1f}  [{low:.1f}, {high:.1f}]  "
              f"{median / base:.2f} × eager fp32")  # fmt: skip


if __name__ == "__main__":
    main()
