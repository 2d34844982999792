"""Folders at scale: speed, memory, kills, shards, Ray.

python benchmarks/folders.py speed    # needs an idle machine; all others may run beside work
python benchmarks/folders.py memory kills shards ray large
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from timing import Bench, arguments

from nrpurify.batch.pipeline import default_workers
from nrpurify.core.images import read_image, write_image
from nrpurify.purifiers import Purifier, load_purifier

PURIFY = [sys.executable, "-m", "nrpurify", "purify"]


def photographs() -> list[Image.Image]:
    shown = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    return [Image.fromarray(pixels) for pixels in shown]


def write_jpegs(folder: Path, count: int) -> Path:
    """Crops of four photographs, with sides from 224 to 640 pixels."""
    if (folder / f"{count - 1:05}.jpg").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shown, draw = photographs(), random.Random(0)
    for index in range(count):
        picture = draw.choice(shown)
        width, height = (draw.choice((224, 320, 384, 480, 640)) for _ in range(2))
        left, top = (draw.randrange(0, side // 3) for side in picture.size)
        part = picture.crop((left, top, picture.width, picture.height)).resize((width, height))
        part.save(folder / f"{index:05}.jpg", quality=90)
    return folder


def write_small(folder: Path, count: int, broken: float = 0.01) -> Path:
    """PNG files of 32 pixels, of which one in a hundred is cut off."""
    if (folder / f"{count - 1:05}.png").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index:05}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        if index % round(1 / broken) == 7:
            path.write_bytes(path.read_bytes()[:200])
    return folder


def timed(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{command} failed")
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def cpu_seconds(paths: list[Path], purifier: Purifier, target: Path) -> tuple[float, float]:
    """Processor time of one core for the model and for the codecs."""
    torch.set_num_threads(1)
    model = codecs = 0.0
    for path in paths:
        begun = time.process_time()
        image = read_image(path)
        read = time.process_time()
        made = purifier.purify_pixels(image.pixels[None], amp="auto")[0]
        purified = time.process_time()
        write_image(target, made)
        codecs += read - begun + time.process_time() - purified
        model += purified - read
    torch.set_num_threads(default_workers())
    return model, codecs


def speed(work: Path, args: argparse.Namespace) -> None:
    """The command beside a plain loop, a single image, and the ideal of model and codecs."""
    source = write_jpegs(work / f"jpegs-{args.count or 1000}", args.count or 1000)
    paths, purifier = sorted(source.iterdir()), load_purifier(args.purifier)
    peaks = []

    def command(*sources: str) -> float:
        out = fresh(work / "out")
        wall, _, peak = timed([*PURIFY, *sources, f"{out}/", "--purifier", args.purifier])
        peaks.append(round(peak))
        return wall

    def loop() -> None:
        for path in paths:
            made = purifier.purify_pixels(read_image(path).pixels[None], amp="auto")[0]
            write_image(work / "one.png", made)

    model, codecs = cpu_seconds(paths, purifier, work / "one.png")
    cores = default_workers()
    args.threads = cores
    bench = Bench("folders", args)
    sides = {
        "`nrpurify purify`": lambda: command(str(source)),
        "plain loop": loop,
        "model and codecs, CPU seconds / cores": lambda: (model + codecs) / cores,
        "model alone, CPU seconds / cores": lambda: model / cores,
        "`nrpurify purify` of one image": lambda: command(str(paths[0])),
    }
    row = bench.row(f"{len(paths):,} JPEGs, `{args.purifier}`", sides, peak=lambda: max(peaks))
    bench.write()
    wall = row["sides"]["`nrpurify purify`"]["median"]
    print(
        f"wall / (CPU seconds of model and codecs / cores): {wall * cores / (model + codecs):.2f}"
    )


def memory(work: Path, args: argparse.Namespace) -> None:
    """Peak memory at 100 and at 5,000 images."""
    for count in (100, args.count or 5000):
        source = write_small(work / f"small-{count}", count)
        out = fresh(work / "out")
        wall, _, peak = timed([*PURIFY, str(source), str(out), "--purifier", "tiny"])
        print(f"memory: {count} images of 32 pixels, tiny: peak {peak:.0f} MiB, {wall:.0f} s")


def kills(work: Path, args: argparse.Namespace) -> None:
    """A run that is killed five times beside an undisturbed one."""
    count = args.count or 5000
    source = write_small(work / f"small-{count}", count)
    calm, out = work / f"calm-{count}", fresh(work / "killed")
    command = [*PURIFY, str(source), "--defense", "jpeg:quality=50", str(out)]
    subprocess.run([*command[:-1], str(calm)], stderr=subprocess.DEVNULL, check=False)
    good = len(outputs(calm))
    draw, log, finished = random.Random(args.seed), [], {}
    for _ in range(5):
        target = len(finished) + draw.randrange(1, good // 6)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(noted(out)) < target and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = noted(out)
        assert all(now.get(name) == sha for name, sha in finished.items())
        times = {name: (out / name).stat().st_mtime_ns for name in now}
        finished = now
        log.append(len(now))
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    again = sum((out / name).stat().st_mtime_ns != stamp for name, stamp in times.items())
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    listed = [line["output"] for line in lines if "output" in line]
    assert len(listed) == len(set(listed)) == good
    assert outputs(out) == outputs(calm)
    moments = ", ".join(map(str, log))
    print(f"kills: {count} images of 32 pixels, {count - good} broken, jpeg:quality=50")
    print(f"  killed when {moments} were finished; finished images made again: {again}")
    print(f"  {good} outputs, each listed once, equal to an undisturbed run")


def noted(out: Path) -> dict[str, str]:
    """The hashes of outputs that a manifest calls finished."""
    try:
        lines = (out / "manifest.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return {}
    entries = [json.loads(line) for line in lines]
    found = {line["output"]: line.get("sha256") for line in entries if "output" in line}
    return {name: sha for name, sha in found.items() if sha}


def shards(work: Path, args: argparse.Namespace) -> None:
    """Two shards at the same time beside one run, with a purifier, a batch and other threads."""
    source = write_jpegs(work / f"jpegs-{args.count or 60}", args.count or 60)
    whole, parts = fresh(work / "whole"), fresh(work / "parts")
    common = [*PURIFY, str(source), "--purifier", args.purifier]
    subprocess.run([*common, str(whole), "--workers", "2"], check=True)
    both = [
        subprocess.Popen([*common, str(parts), "--shard", f"{i}/2", "--workers", "1", *extra])
        for i, extra in enumerate(([], ["--batch", "4"]))
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert outputs(parts) == outputs(whole)
    sizes = [len(noted_in(parts / f"manifest-{i}-of-2.jsonl")) for i in range(2)]
    print(
        f"shards: {len(outputs(whole))} JPEGs, {args.purifier}, shards of {sizes}, equal to one run"
    )


def noted_in(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if '"output"' in line]


def ray(work: Path, args: argparse.Namespace) -> None:
    """A local cluster of two workers, one of them killed, beside threads."""
    source = write_small(work / "small-300", 300)
    calm, out = fresh(work / "threads"), fresh(work / "ray")
    command = [*PURIFY, str(source), "--defense", "jpeg:quality=50"]
    subprocess.run([*command, str(calm)], stderr=subprocess.DEVNULL, check=False)
    more = ["--engine", "ray", "--workers", "2"]
    process = subprocess.Popen([*command, str(out), *more], stderr=subprocess.DEVNULL)
    while len(noted(out)) < 100:
        assert process.poll() is None, "Ray ended early"
        time.sleep(0.01)
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
    tasks = [int(row[0]) for row in rows if row[1].startswith("ray::_make")]
    os.kill(tasks[0], signal.SIGKILL)
    process.wait()
    assert outputs(out) == outputs(calm)
    lines = noted_in(out / "manifest.jsonl")
    assert len(lines) == len(outputs(calm))
    print("ray: 300 images of 32 pixels, 2 workers, one killed after 100")
    print(f"  {len(lines)} outputs, each listed once, equal to threads")


def large(work: Path, args: argparse.Namespace) -> None:
    """Peak memory of one square image, by default of 100 megapixels."""
    path = work / f"large-{args.side}.png"
    if not path.exists():
        picture = photographs()[1].resize((args.side, args.side))
        picture.save(path, compress_level=1)
    out = fresh(work / "large-out")
    out.mkdir()
    command = [*PURIFY, str(path), f"{out}/", "--purifier", args.purifier]
    _, cpu, peak = timed(command)
    pixels = args.side**2 / 1e6
    print(f"large: {pixels:.0f} megapixels, {args.purifier}: peak {peak:.0f} MiB, {cpu:.0f} CPU s")


def main() -> None:
    parser = arguments(__doc__)
    jobs = {job.__name__: job for job in (speed, memory, kills, shards, ray, large)}
    parser.add_argument("jobs", nargs="+", choices=list(jobs))
    parser.add_argument("--work", type=Path, default=Path("out/folders"), help="for images")
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--count", type=int, help="of images")
    parser.add_argument("--side", type=int, default=10_000, help="of the large image")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for job in args.jobs:
        jobs[job](args.work, args)


if __name__ == "__main__":
    main()
