"""Time that a fresh process needs beyond ``import torch``."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Bench, arguments

from nrpurify.core.images import write_png

CODE = """
import json, sys, time
first, then = sys.argv[1:]
exec(first)
start = time.perf_counter()
exec(then)
print(json.dumps(time.perf_counter() - start))
"""


def fresh(first: str, then: str) -> Callable[[], float]:
    """Seconds of ``then`` in a new process, after ``first``."""

    def run() -> float:
        command = [sys.executable, "-c", CODE, first, then]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout.splitlines()[-1]))

    return run


def main() -> None:
    bench = Bench("startup", arguments(__doc__).parse_args())
    with tempfile.TemporaryDirectory() as name:
        image, out = Path(name, "a.png"), Path(name, "out")
        write_png(image, torch.rand(3, 224, 224))
        purify = f"from nrpurify.cli import main; main(['purify', {str(image)!r}, {str(out)!r}"
        names = "import nrpurify; [getattr(nrpurify, name) for name in nrpurify.__all__]"
        sides = {
            "import torch": fresh("", "import torch"),
            "import nrpurify": fresh("import torch", "import nrpurify"),
            "all public names": fresh("import torch", names),
            "purify one image": fresh("import torch", f"{purify}, '--overwrite'])"),
        }
        bench.row("a fresh process; all rows but the first come on top of import torch", sides)
        bench.write()


if __name__ == "__main__":
    main()
