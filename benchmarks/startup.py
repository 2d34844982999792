"""Time that a fresh process needs beyond ``import torch``, in milliseconds.

Each row is a statement in fresh processes that have imported torch; ``import torch`` itself is the
first row. Wall time and processor time: the latter is disturbed little by other work.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from nrpurify.core.images import write_png

CODE = """
import json, sys, time
first, then = sys.argv[1:]
exec(first)
wall, cpu = time.perf_counter(), time.process_time()
exec(then)
print(json.dumps([1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)]))
"""


def once(first: str, then: str) -> list[float]:
    command = [sys.executable, "-c", CODE, first, then]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, "
          f"{args.runs} runs in turn after one, milliseconds of wall and of processor")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        image, out = Path(name, "a.png"), Path(name, "out")
        write_png(image, torch.rand(3, 224, 224))
        purify = f"from nrpurify.cli import main; main(['purify', {str(image)!r}, {str(out)!r}"
        sides = {
            "import torch": ("", "import torch"),
            "import nrpurify": ("import torch", "import nrpurify"),
            "all public names": (
                "import torch",
                "import nrpurify; [getattr(nrpurify, name) for name in nrpurify.__all__]",
            ),
            "purify one image": ("import torch", f"{purify}, '--overwrite'])"),
        }
        times: dict[str, list[list[float]]] = {name: [] for name in sides}
        for run in range(args.runs + 1):
            for name, (first, then) in sides.items():
                found = once(first, then)
                if run:  # the first reads files from the disk
                    times[name].append(found)
    for name, values in times.items():
        cells = []
        for column in zip(*values, strict=True):
            low, median, high = statistics.quantiles(column, n=4)
            cells.append(f"{median:8.1f}  [{low:.1f}, {high:.1f}]")
        print(f"{name:18} {cells[0]:30} {cells[1]}")


if __name__ == "__main__":
    main()
