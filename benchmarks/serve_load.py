"""Load on `nrpurify serve`: throughput, latencies, refusals, memory, CPU seconds an image.

Clients ask again at once; after a 503 they wait as long as Retry-After says. `--sigterm` ends the
server in the middle and compares what it logged with what the clients got. `--starts` times starts.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from serve_process import ServerProcess
from timing import write_table

from nrpurify.batch.defend import defend_image
from nrpurify.core.images import encode_png, read_image
from nrpurify.defenses import make

SIZES = {"224": (224, 224), "1080p": (1080, 1920)}
LOAD = {
    "clients": 0,
    "seconds": 0,
    "images/s": 2,
    "p50, s": 2,
    "p95, s": 2,
    "p99, s": 2,
    "answers": 0,
    "no answer": 0,
    "CPU s an image": 3,
    "× bare": 2,
    "MiB at a fifth and at the end": 0,
}


def photograph(size: str) -> bytes:
    """A JPEG file of smooth noise, about as large as a photograph's."""
    height, width = SIZES[size]
    draws = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    picture = PilImage.fromarray(draws).resize((width, height), PilImage.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=90)
    return content.getvalue()


class Clients:
    """Threads that send requests until the event ``stop`` is set."""

    def __init__(
        self,
        port: int,
        content: bytes,
        count: int,
        *,
        path: str = "/v1/purify",
        kind: str = "image/jpeg",
    ) -> None:
        self.port, self.content, self.path, self.kind = port, content, path, kind
        self.stop = threading.Event()
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.answered: dict[str, int] = {}
        self.unanswered: dict[str, str] = {}
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self, seed: int) -> None:
        draw = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        while not self.stop.is_set():
            name = f"load-{next(self.numbers)}"
            headers = {"Content-Type": self.kind, "X-Request-ID": name}
            begun = time.perf_counter()
            try:
                connection.request("POST", self.path, self.content, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.unanswered[name] = type(error).__name__
                connection.close()
                if isinstance(error, ConnectionRefusedError):
                    return
                continue
            self.answered[name] = answer.status
            wait = answer.headers.get("Retry-After")
            self.statuses[f"{answer.status}{'' if wait is None else ' with Retry-After'}"] += 1
            if answer.status == 200:
                self.seconds.append(time.perf_counter() - begun)
            elif wait is not None:
                self.stop.wait(float(wait) * draw.uniform(1, 1.2))
        connection.close()

    def join(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def bare_cpu_seconds(purifier: str, content: bytes, count: int) -> float:
    """Median CPU seconds an image of decoder, purifier and encoder without a server."""
    module, found = make(purifier), []
    for _ in range(count + 1):
        begun = time.process_time()
        image = read_image(content)
        encode_png(*defend_image(module, image, device="cpu", tile=512, amp="auto"))
        found.append(time.process_time() - begun)
    return statistics.median(found[1:])


def texts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} × {name}" for name, count in counts.most_common()) or "0"


def run(server: ServerProcess, content: bytes, clients: int, seconds: float, bare: float) -> list:
    """A row of :data:`LOAD`."""
    used, begun = server.cpu_seconds(), time.perf_counter()
    made = Clients(server.port, content, clients)
    memory = []
    while time.perf_counter() - begun < seconds:
        time.sleep(min(5.0, seconds / 10))
        memory.append(round(server.memory()))
    made.join()
    elapsed = time.perf_counter() - begun
    done = len(made.seconds)
    quantiles = np.quantile(made.seconds, [0.5, 0.95, 0.99]) if done else [float("nan")] * 3
    cpu = (server.cpu_seconds() - used) / max(done, 1)
    row = [
        clients,
        round(seconds),
        round(done / elapsed, 3),
        *(round(float(value), 4) for value in quantiles),
        texts(made.statuses),
        texts(Counter(made.unanswered.values())),
        round(cpu, 4),
        round(cpu / bare, 3),
        f"{memory[len(memory) // 5]:,} and {memory[-1]:,}",
    ]
    print(dict(zip(LOAD, row, strict=True)), flush=True)
    return row


def starts(purifier: str, count: int) -> list[float]:
    """Seconds from the start of the process to the first purified image."""
    content, found = photograph("224"), []
    for _ in range(count):
        begun = time.perf_counter()
        server = ServerProcess("--purifier", purifier, "--no-attack")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", "/v1/purify", content, {"Content-Type": "image/jpeg"})
            assert connection.getresponse().status == 200
            found.append(time.perf_counter() - begun)
        finally:
            server.process.kill()
    return found


def sigterm(server: ServerProcess, content: bytes, clients: int, seconds: float) -> list:
    """End the server under load: every request that it took must have its answer."""
    made = Clients(server.port, content, clients)
    time.sleep(seconds)
    begun = time.perf_counter()
    code = server.stop()
    elapsed = time.perf_counter() - begun
    made.join()
    logged = {
        str(line["request_id"]): int(line["status"])
        for line in server.lines
        if line.get("route") == "/v1/purify"
    }
    lost = [name for name in logged if made.answered.get(name) != logged[name]]
    answers = texts(Counter(map(str, logged.values())))
    untaken = texts(Counter(made.unanswered.values()))
    row = [clients, round(seconds), len(logged), len(logged) - len(lost), answers, untaken]
    row += [code, round(elapsed, 2)]
    print(dict(zip(SIGTERM, row, strict=True)), flush=True)
    if lost or code:
        raise SystemExit(f"not answered: {lost[:10]}")
    return row


SIGTERM = {
    "clients": 0,
    "seconds before": 0,
    "requests taken": 0,
    "answered": 0,
    "answers": 0,
    "connections not taken": 0,
    "exit code": 0,
    "seconds to the end": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--size", choices=SIZES, default="224")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[60], help="one, or one for each of --clients"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sigterm", action="store_true")
    parser.add_argument("--starts", type=int, help="only start the server so many times")
    parser.add_argument("--out", type=Path, help="write a table here")
    args = parser.parse_args()

    def write(title: str, columns: dict[str, int], rows: list[list]) -> None:
        if args.out:
            write_table(args.out.stem, title, columns, rows, out=args.out)

    if args.starts:
        found = starts(args.purifier, args.starts)
        low, median, high = statistics.quantiles(found, n=4, method="inclusive")
        print(
            f"{args.starts} starts, seconds to the first image: {low:.2f}, {median:.2f}, {high:.2f}"
        )
        columns = {"purifier": 0, "starts": 0, "median, s": 2, "quartiles, s": 2}
        row = [f"`{args.purifier}`", args.starts, round(median, 3), [round(low, 3), round(high, 3)]]
        write("From the start of the process to the first purified image", columns, [row])
        return
    content = photograph(args.size)
    seconds = args.seconds if len(args.seconds) > 1 else args.seconds * len(args.clients)
    options = ("--purifier", args.purifier, "--no-attack", "--batch", str(args.batch))
    title = f"{args.size}, a JPEG file of {len(content):,} bytes, purifier {args.purifier}"
    bare = 0.0
    if not args.sigterm:
        bare = bare_cpu_seconds(args.purifier, content, 20 if args.size == "224" else 5)
        title += f"; decoder, purifier and encoder alone: {bare:.4f} CPU seconds an image"
    print(title, flush=True)
    server = ServerProcess(*options)
    try:
        if args.sigterm:
            row = sigterm(server, content, max(args.clients), seconds[0])
            write(f"SIGTERM under load: {title}", SIGTERM, [row])
            return
        rows = []
        for clients, length in zip(args.clients, seconds, strict=True):
            rows.append(run(server, content, clients, length, bare))
            write(title, LOAD, rows)
    finally:
        server.process.kill()


if __name__ == "__main__":
    main()
