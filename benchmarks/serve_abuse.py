"""Malformed uploads against `nrpurify serve`, with good clients beside them.

The server must not crash, must answer no 5xx but 503 and 504, and must still purify at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import struct
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from serve_process import ServerProcess
from timing import write_table

Send = list[bytes | float | str]
"""Bytes to send, seconds to wait, ``half-close``, or ``reset`` before any answer."""


def picture(kind: str, draw: random.Random) -> bytes:
    side = draw.randrange(16, 64)
    pixels = np.frombuffer(draw.randbytes(side * side * 3), np.uint8).reshape(side, side, 3)
    content = io.BytesIO()
    PilImage.fromarray(pixels).save(content, kind)
    return content.getvalue()


def request(body: bytes, kind: str = "image/png", length: object = None, more: str = "") -> bytes:
    head = (
        f"POST /v1/purify HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n{more}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def truncated(draw: random.Random) -> Send:
    whole = picture(draw.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), draw)
    return [request(whole[: draw.randrange(len(whole))])]


def mutated(draw: random.Random) -> Send:
    whole = bytearray(picture(draw.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), draw))
    for _ in range(draw.randrange(1, 20)):
        whole[draw.randrange(len(whole))] = draw.randrange(256)
    return [request(bytes(whole))]


_ZEROS = zlib.compress(b"\0" * 30_000_000)


def bomb(draw: random.Random) -> Send:
    side = draw.choice([3_999, 30_000, 2**31 - 1])
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    small = picture("PNG", draw)
    return [
        request(
            draw.choice(
                [
                    head + chunk(b"IDAT", _ZEROS) + chunk(b"IEND", b""),
                    head + chunk(b"IDAT", b"x") + chunk(b"IEND", b""),
                    small[:33] + chunk(b"iCCP", b"x\0\0" + _ZEROS) + small[33:],
                    small[:33] + chunk(b"zTXt", b"x\0\0" + _ZEROS) + small[33:],
                    b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"," + b"\0" * 20,
                    b"BM" + struct.pack("<IIIIiiHHI", 9, 0, 54, 40, 2**20, 2**20, 1, 24, 0),
                    b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
                ]
            )
        )
    ]


def wrong_type(draw: random.Random) -> Send:
    texts = [b"%PDF-1.7", b"PK\3\4", b"<svg onload='x'/>", b"#!/bin/sh", b"\x7fELF", b"", b"MM\0*"]
    kinds = [
        "image/png",
        "text/html",
        "image/svg+xml",
        "application/octet-stream",
        "\xff",
        "a" * 999,
    ]
    return [request(draw.choice(texts) + draw.randbytes(50), draw.choice(kinds))]


def polyglot(draw: random.Random) -> Send:
    png, jpeg = picture("PNG", draw), picture("JPEG", draw)
    bodies = [
        b"GIF89a/*" + b"x" * 20 + b"*/=1;alert(1)",
        png + b"PK\3\4" + draw.randbytes(90),
        jpeg + b"<script>alert(1)</script>",
        png[:8] + jpeg,
        b"\xff\xd8\xff" + png,
        b"RIFF" + png[:4] + b"WEBP" + jpeg,
        b"BM" + png,
        b"\0\0\0\x20ftypavif" + png,
    ]
    return [request(draw.choice(bodies), draw.choice(["image/png", "image/gif", "image/jpeg"]))]


def wrong_length(draw: random.Random) -> Send:
    body = picture("PNG", draw)
    length = draw.choice([len(body) + 100, len(body) // 2, 0, -5, "abc", "1e3", 10**12, "5, 6", ""])
    more = draw.choice(["", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"])
    return [request(body, length=length, more=more), "half-close"]


def bad_form(draw: random.Random) -> Send:
    mark = "b" * draw.choice([1, 30, 300])
    png = picture("PNG", draw)
    part = f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="../../x"\r\n\r\n'
    bodies = [
        part.encode() + png,
        part.encode() * 50 + png + f"\r\n--{mark}--\r\n".encode(),
        f"--{mark}\r\nContent-Disposition: form-data; name={'x' * 5000}\r\n\r\n".encode() + png,
        f"--{mark}\r\n\r\n".encode() + png + f"\r\n--{mark}--\r\n".encode(),
        f"--{mark}\r\n{'X: y' * 3000}\r\n\r\n".encode(),
        draw.randbytes(300),
        b"",
    ]
    kinds = [
        f"multipart/form-data; boundary={mark}",
        "multipart/form-data",
        "multipart/form-data; ;=",
    ]
    return [request(draw.choice(bodies), draw.choice(kinds))]


def slow(draw: random.Random) -> Send:
    whole = request(picture("PNG", draw))
    cut = draw.choice([5, 40, 150, 200])
    return [whole[:cut], draw.uniform(0.1, 3), whole[cut : cut + 20], draw.uniform(0.1, 3)]


def half_closed(draw: random.Random) -> Send:
    whole = request(picture("PNG", draw))
    part = whole[: draw.randrange(1, len(whole))]
    return draw.choice([[part, "half-close"], [part, "reset"], [whole, "reset"]])


def bad_http(draw: random.Random) -> Send:
    return [
        draw.choice(
            [
                draw.randbytes(200),
                b"GET / HTTP/9.9\r\n\r\n",
                b"POST /v1/purify HTTP/1.1\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
                b"POST /v1/purify?purifier=%00%ff&x[]=1 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST /v1/purify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(100),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
        ),
        "half-close",
    ]


KINDS: dict[str, Callable[[random.Random], Send]] = {
    made.__name__: made
    for made in (
        *(truncated, mutated, bomb, wrong_type, polyglot),
        *(wrong_length, bad_form, slow, half_closed, bad_http),
    )
}


async def send(port: int, parts: Send) -> str:
    """The answer's status, or how the connection ended without one."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return f"not connected: {type(error).__name__}"
    try:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            elif part == "half-close":
                writer.write_eof()
            else:
                writer.transport.abort()
                return "left"
        line = await asyncio.wait_for(reader.readline(), 120)
        return line.split()[1].decode() if line.startswith(b"HTTP/") else "closed"
    except TimeoutError:
        return "NO ANSWER"
    except (OSError, IndexError):
        return "closed"
    finally:
        writer.close()


async def good(
    port: int, stop: asyncio.Event, seconds: list[float], statuses: Counter[str]
) -> None:
    draw = random.Random(0)
    while not stop.is_set():
        begun = time.perf_counter()
        status = await send(port, [request(picture("PNG", draw))])
        statuses[status] += 1
        if status == "200":
            seconds.append(time.perf_counter() - begun)
        else:
            await asyncio.sleep(1)


def texts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in counts.most_common())


async def abuse(
    server: ServerProcess, count: int, seed: int, together: int
) -> tuple[bool, list[list]]:
    """Whether all went well, and the rows of a table."""
    results: dict[str, Counter[str]] = defaultdict(Counter)
    room, stop = asyncio.Semaphore(together), asyncio.Event()
    quiet: list[float] = []
    seconds: list[float] = []
    statuses: Counter[str] = Counter()
    before = asyncio.Event()
    alone = [asyncio.create_task(good(server.port, before, quiet, statuses)) for _ in range(2)]
    await asyncio.sleep(5)
    before.set()
    await asyncio.gather(*alone)
    beside = [asyncio.create_task(good(server.port, stop, seconds, statuses)) for _ in range(2)]

    async def one(number: int) -> None:
        async with room:
            draw = random.Random(seed * 1_000_003 + number)
            name = list(KINDS)[number % len(KINDS)]
            results[name][await send(server.port, KINDS[name](draw))] += 1

    begun, memory = time.perf_counter(), server.memory()
    await asyncio.gather(*(one(number) for number in range(count)))
    stop.set()
    await asyncio.gather(*beside)
    print(
        f"{count} uploads, seed {seed}, {together} at a time: {time.perf_counter() - begun:.0f} s"
    )
    for name, found in results.items():
        print(f"  {name}: {dict(found.most_common())}")
    print(f"good clients: {dict(statuses)}")
    for title, values in (("alone", quiet), ("beside the abuse", seconds)):
        p50, p99 = np.quantile(values, [0.5, 0.99])
        print(f"  {title}: {len(values)} images, p50 {p50:.3f} s, p99 {p99:.3f} s")
    after = server.memory()
    print(f"memory: {memory:.0f} MiB before, {after:.0f} MiB after")
    wrong = Counter(
        status
        for found in (*results.values(), statuses)
        for status in found.elements()
        if status == "NO ANSWER" or (status.startswith("5") and status not in ("503", "504"))
    )
    alive = server.process.poll() is None and server.get("/readyz")[0] == 200
    print(f"alive and ready: {alive}; wrong answers: {dict(wrong)}")
    rows = [[name, sum(found.values()), texts(found)] for name, found in results.items()]
    p99 = [f"p99 {np.quantile(values, 0.99):.3f} s" for values in (quiet, seconds)]
    rows.append(["good clients before them", len(quiet), p99[0]])
    beside_them = f"{texts(statuses - Counter({'200': len(quiet)}))}; {p99[1]}"
    rows.append(["good clients beside them", len(seconds), beside_them])
    rows.append(["memory of the server", None, f"{memory:.0f} MiB before, {after:.0f} MiB after"])
    return alive and not wrong, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--out", type=Path, help="write a table here")
    args = parser.parse_args()
    server = ServerProcess("--purifier", args.purifier, "--no-attack", "--upload-seconds", "2")
    try:
        fine, rows = asyncio.run(abuse(server, args.count, args.seed, args.together))
        code = server.stop()
    finally:
        server.process.kill()
    tracebacks = [text for text in server.texts if "Traceback" in text]
    print(f"exit code {code}, tracebacks in the log: {len(tracebacks)}", *tracebacks[:3], sep="\n")
    if args.out:
        title = f"Malformed uploads, {args.together} at a time, seed {args.seed}, {args.purifier}"
        rows.append(["exit code, tracebacks in the log", None, f"{code}, {len(tracebacks)}"])
        columns = {"uploads": 0, "count": 0, "answers": 0}
        write_table(args.out.stem, title, columns, rows, out=args.out)
    if not fine or code or tracebacks:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
