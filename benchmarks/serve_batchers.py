"""Our server's batches beside LitServe's: the same purifier, images and clients.

LitServe is not needed by the project: give the Python of an environment that has it and nrpurify.
python benchmarks/serve_batchers.py --litserve /tmp/rival/bin/python
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from serve_load import Clients, photograph, texts
from serve_process import ServerProcess
from timing import write_table

COLUMNS = {
    "server": 0,
    "batch": 0,
    "clients": 0,
    "images/s": 2,
    "p50, s": 2,
    "p99, s": 2,
    "answers": 0,
}


@contextlib.contextmanager
def ours(batch: int) -> Iterator[int]:
    server = ServerProcess("--purifier", "fast", "--no-attack", "--batch", str(batch))
    try:
        yield server.port
    finally:
        server.process.kill()


@contextlib.contextmanager
def litserve(python: str, batch: int) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = Path(__file__).with_name("serve_litserve.py")
    command = [python, str(file), "--port", str(port), "--batch", str(batch)]
    process = subprocess.Popen(command, stdout=sys.stderr, process_group=0)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def load(port: int, clients: int, seconds: float, *, lit: bool) -> list[object]:
    content, path, kind = photograph("224"), "/v1/purify", "image/jpeg"
    if lit:
        content = json.dumps({"image": base64.b64encode(content).decode()}).encode()
        path, kind = "/predict", "application/json"
    first = Clients(port, content, clients, path=path, kind=kind)
    while not first.seconds:  # until the models are there
        time.sleep(0.1)
    first.join()
    begun = time.perf_counter()
    made = Clients(port, content, clients, path=path, kind=kind)
    time.sleep(seconds)
    made.join()
    elapsed = time.perf_counter() - begun
    p50, p99 = np.quantile(made.seconds, [0.5, 0.99])
    rate = len(made.seconds) / elapsed
    return [round(rate, 3), round(float(p50), 4), round(float(p99), 4), texts(made.statuses)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litserve", required=True, help="a Python with LitServe and nrpurify")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--out", type=Path, help="write a table here")
    args = parser.parse_args()
    rows = []
    for batch in args.batches:
        for name in ("nrpurify", "LitServe"):
            lit = name == "LitServe"
            with litserve(args.litserve, batch) if lit else ours(batch) as port:
                for clients in args.clients:
                    found = load(port, clients, args.seconds, lit=lit)
                    rows.append([name, batch, clients, *found])
                    print(dict(zip(COLUMNS, rows[-1], strict=True)), flush=True)
    if args.out:
        title = "224² JPEG files, purifier fast, one copy of the model"
        write_table(args.out.stem, title, COLUMNS, rows, out=args.out)


if __name__ == "__main__":
    main()
