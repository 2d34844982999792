"""Load on `nrpurify serve`: throughput, latencies, refusals, memory, CPU seconds an image.

Clients ask again at once; after a 503 they wait as long as Retry-After says. `--sigterm` ends the
server in the middle and compares what it logged with what the clients got.
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

import numpy as np
from PIL import Image as PilImage
from serve_process import ServerProcess

from nrpurify.batch.defend import defend_image
from nrpurify.core.images import encode_png, read_image
from nrpurify.defenses import make

SIZES = {"224": (224, 224), "1080p": (1080, 1920)}


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

    def __init__(self, port: int, content: bytes, count: int) -> None:
        self.port, self.content = port, content
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
            headers = {"Content-Type": "image/jpeg", "X-Request-ID": name}
            begun = time.perf_counter()
            try:
                connection.request("POST", "/v1/purify", self.content, headers)
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


def run(server: ServerProcess, content: bytes, clients: int, seconds: float) -> dict[str, object]:
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
    return {
        "clients": clients,
        "images a second": round(done / elapsed, 2),
        "p50, p95, p99 in s": [round(float(value), 3) for value in quantiles],
        "answers": dict(made.statuses),
        "without an answer": dict(Counter(made.unanswered.values())),
        "CPU seconds an image": round((server.cpu_seconds() - used) / max(done, 1), 4),
        "MiB": [memory[0], memory[len(memory) // 5], memory[-1]],
    }


def sigterm(server: ServerProcess, content: bytes, clients: int, seconds: float) -> None:
    """End the server under load: every request that it took must have its answer."""
    made = Clients(server.port, content, clients)
    time.sleep(seconds)
    begun = time.perf_counter()
    code = server.stop()
    elapsed = time.perf_counter() - begun
    print(f"SIGTERM with {clients} clients: exit code {code} after {elapsed:.1f} s")
    made.join()
    logged = {
        str(line["request_id"]): int(line["status"])
        for line in server.lines
        if line.get("route") == "/v1/purify"
    }
    lost = [name for name in logged if made.answered.get(name) != logged[name]]
    print(
        f"requests that the server took: {len(logged)}, answered: {len(logged) - len(lost)} "
        f"{dict(Counter(logged.values()))}; connections that it did not take: "
        f"{dict(Counter(made.unanswered.values()))}"
    )
    if lost or code:
        raise SystemExit(f"not answered: {lost[:10]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--size", choices=SIZES, default="224")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=60, help="for each number of clients")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sigterm", action="store_true")
    args = parser.parse_args()
    content = photograph(args.size)
    options = ("--purifier", args.purifier, "--no-attack", "--batch", str(args.batch))
    server = ServerProcess(*options)
    print(f"{args.size}, {len(content):,} bytes; ready after {server.cold_start:.1f} s")
    try:
        if args.sigterm:
            sigterm(server, content, max(args.clients), args.seconds)
            return
        for clients in args.clients:
            print(run(server, content, clients, args.seconds), flush=True)
        bare = bare_cpu_seconds(args.purifier, content, 20 if args.size == "224" else 5)
        print(f"bare decoder, purifier and encoder: {bare:.4f} CPU seconds an image")
    finally:
        server.process.kill()


if __name__ == "__main__":
    main()
