"""Workers, batches, shards and interruptions change no byte of an output."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify import defenses
from nrpurify.batch import AttackOptions, attack_folder, plan_jobs, purify_folder, read_records
from nrpurify.batch.pipeline import in_groups
from nrpurify.batch.planning import Shard
from nrpurify.batch.work import _Budget, image_size
from nrpurify.core.errors import InputError
from nrpurify.core.manifest import Job
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.purifiers import Purifier, build_purifier


@pytest.fixture
def folder(tmp_path):
    """Twelve images of three sizes, of which one is broken."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for index in range(12):
        shape = ((16, 16, 3), (16, 24, 3), (20, 16, 3))[index % 3]
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index:02}.png")
    (tmp_path / "in" / "05.png").write_bytes(b"no image")
    return tmp_path / "in"


def outputs(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def purified(folder, name, **options):
    defense = options.pop("defense", None) or purifier()
    result = purify_folder(folder, folder.parent / name, defense, amp=False, **options)
    return result, outputs(folder.parent / name)


def purifier():
    torch.manual_seed(0)
    built = build_purifier("micro")
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.2)
    return built


def statuses(result):
    return [(item.job.source.name, item.status) for item in result.items]


@pytest.mark.parametrize(
    "options", [{"workers": 1}, {"workers": 3}, {"batch": 2}, {"workers": 2, "batch": 3}]
)
def test_workers_and_batches_change_no_byte(folder, options):
    first, expected = purified(folder, "a", workers=2, batch=1)
    other, found = purified(folder, "b", **options)
    assert found == expected
    assert len(found) == 11
    names = [path.name for path in sorted(folder.iterdir())]
    assert [name for name, _ in statuses(other)] == names
    assert statuses(other) == statuses(first)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("error", [MemoryError("no memory"), ValueError("one image at a time")])
def test_a_batch_that_fails_is_made_image_by_image(folder, monkeypatch, error):
    _, expected = purified(folder, "a", batch=1)
    whole = Purifier.purify

    def purify(self, images, **options):
        if len(images) > 1:
            raise error
        return whole(self, images, **options)

    monkeypatch.setattr(Purifier, "purify", purify)
    result, found = purified(folder, "b", batch=2)
    assert found == expected
    assert result.count("failed") == 1  # 05.png, which is broken


@pytest.mark.parametrize("spec", ["noise", "rp:low=40,high=50", "nips-r3"])
def test_random_defenses_draw_by_name_in_any_thread(folder, spec):
    _, expected = purified(folder, "a", defense=defenses.make(spec), workers=1)
    _, found = purified(folder, "b", defense=defenses.make(spec), workers=4)
    assert found == expected


class Uncopyable(nn.Module):
    """Holds a lock, as sessions of other libraries do, and must not run twice at once."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, images):
        assert self.lock.acquire(blocking=False)
        time.sleep(0.002)
        self.lock.release()
        return images


def test_a_defense_that_cannot_be_copied_works_in_one_thread_at_a_time(folder):
    result, _ = purified(folder, "a", defense=Uncopyable(), workers=4)
    assert [item.status for item in result.items].count("done") == 11


class PlaceMatters(nn.Module):
    """A network whose result depends on the place in the batch."""

    multiple, radius = 1, 1

    def forward(self, images):
        return images + 0.1 * torch.arange(len(images)).view(-1, 1, 1, 1)


def test_a_batch_that_changes_a_result_is_not_used(folder):
    built = purifier()
    built.network = PlaceMatters()
    _, expected = purified(folder, "a", defense=built, batch=1)
    _, found = purified(folder, "b", defense=built, batch=3)
    assert found == expected


def test_images_of_one_size_go_together(folder):
    jobs = plan_jobs(folder, folder.parent / "out", recursive=False).jobs
    groups = list(in_groups(jobs, 2))
    assert sorted(job.source.name for group in groups for job in group) == sorted(
        job.source.name for job in jobs
    )
    for group in groups:
        sizes = {image_size(job.source) for job in group}
        assert len(sizes) <= 1
    assert list(in_groups(jobs, 1)) == [[job] for job in jobs]


def test_the_search_for_equal_sizes_ends(tmp_path):
    jobs = []
    for index in range(70):  # each of a size of its own
        Image.new("L", (index + 1, 1)).save(tmp_path / f"{index}.png")
        jobs.append(Job(tmp_path / f"{index}.png", Path("x"), tmp_path / "out"))
    taken = 0

    def stream():
        nonlocal taken
        for job in jobs:
            taken += 1
            yield job

    groups = in_groups(stream(), 2)
    assert next(groups) == [jobs[0]]
    assert taken == 64
    assert len([*groups]) == 69


def test_the_union_of_shards_is_one_run(folder):
    _, expected = purified(folder, "whole")
    failed = 0
    for index in range(3):
        result, found = purified(folder, "parts", shard=f"{index}/3")
        failed += result.count("failed")
    assert found == expected
    assert failed == 1
    parts = folder.parent / "parts"
    names = sorted(path.name for path in parts.glob("*.jsonl"))
    assert names == [f"manifest-{index}-of-3.jsonl" for index in range(3)]
    assert read_records(parts).files == read_records(folder.parent / "whole").files
    again, _ = purified(folder, "parts", shard="1/2")
    assert again.count("done") == 0
    result, _ = purified(folder, "parts")
    assert (result.count("skipped"), result.count("done")) == (11, 0)
    assert [path.name for path in parts.glob("*.jsonl")] == ["manifest.jsonl"]
    whole = (folder.parent / "whole" / "manifest.jsonl").read_bytes()
    assert (parts / "manifest.jsonl").read_bytes() == whole
    assert not list(parts.glob(".*"))


def test_shards_of_an_attack_keep_groups_together(folder):
    options = AttackOptions(name="noise", group=2)
    attack_folder(folder, folder.parent / "whole", options)
    for index in range(3):
        attack_folder(folder, folder.parent / "parts", options, shard=f"{index}/3")
    assert outputs(folder.parent / "parts") == outputs(folder.parent / "whole")
    jobs = plan_jobs(folder, folder.parent / "x", recursive=False).jobs
    parts = [Shard(index, 3).of(jobs, group=5) for index in range(3)]
    assert sorted(len(part) for part in parts) in ([0, 2, 10], [0, 5, 7], [2, 5, 5])


def test_shards_with_other_settings(folder):
    purified(folder, "out", shard="0/2")
    with pytest.raises(InputError, match="seed was 0, is 1"):
        purified(folder, "out", shard="1/2", seed=1)
    purified(folder, "out", shard="1/2")
    jobs = plan_jobs(folder, folder.parent / "x", recursive=False).jobs
    with pytest.raises(InputError, match="tile was 512, is 64"):
        purified(folder, "out", shard="0/3", tile=64)
    purified(folder, "out", shard="0/3", tile=64, overwrite=True)
    mine = {job.output.name for job in Shard(0, 3).of(jobs)} - {"05.png"}
    records = read_records(folder.parent / "out")
    tiles = {
        name: records.runs[entry["run"]]["settings"]["tile"]
        for name, entry in records.files.items()
    }
    assert tiles == {name: 64 if name in mine else 512 for name in tiles}
    assert len(tiles) == 11


def test_another_format_by_shards_removes_what_it_replaces(folder):
    purified(folder, "out")
    for index in range(2):
        purified(folder, "out", shard=f"{index}/2", format="webp", overwrite=True)
    assert not outputs(folder.parent / "out")
    assert len(read_records(folder.parent / "out").files) == 11
    purified(folder, "out", format="webp")


@pytest.mark.parametrize("text", ["2/2", "1", "-1/2", "a/b", "0/0", "1/2/3"])
def test_shards_that_are_none(folder, text):
    with pytest.raises(InputError, match="shard is"):
        purified(folder, "out", shard=text)


def test_one_file_has_no_shards(folder, tmp_path):
    with pytest.raises(InputError, match="one file has no shards"):
        purify_folder(folder / "00.png", tmp_path / "x.png", purifier(), shard="0/2")


@pytest.mark.parametrize("name", ["workers", "batch"])
def test_numbers_below_one(folder, name):
    with pytest.raises(InputError, match=f"{name} is 0"):
        purified(folder, "out", **{name: 0})


def test_a_failing_watcher_loses_nothing(folder):
    class Failing(Progress):
        def update(self, what, done, total, values=NO_VALUES):
            if done == 3:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        purified(folder, "out", progress=Failing(), workers=2)
    entries = read_records(folder.parent / "out").files
    made = {name for name, entry in entries.items() if "sha256" in entry}
    assert set(outputs(folder.parent / "out")) == made
    assert len(made) >= 2


def test_a_large_image_waits_and_goes_alone():
    budget, log = _Budget(10), []

    def use(name, amount):
        with budget.taken(amount):
            log.append(("in", name))
            time.sleep(0.05)
            log.append(("out", name))

    threads = []
    for name, amount in (("a", 5), ("b", 5), ("huge", 99), ("c", 1)):
        threads.append(threading.Thread(target=use, args=(name, amount)))
        threads[-1].start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    start = log.index(("in", "huge"))
    assert set(log[:start]) == {(way, name) for way in ("in", "out") for name in "ab"}
    assert log[start + 1] == ("out", "huge")


SLOW = """
import sys, time, torch
from torch import nn
from nrpurify.batch import purify_folder

class Slow(nn.Module):
    def forward(self, images):
        time.sleep(0.05)
        return 1 - images

torch.set_num_threads(1)
purify_folder(sys.argv[1], sys.argv[2], Slow(), workers=2, about={"defense": "slow"})
"""


@pytest.mark.slow
def test_killed_runs_lose_and_repeat_nothing(folder):
    out = folder.parent / "out"
    command = [sys.executable, "-c", SLOW, str(folder), str(out)]
    finished = set()
    for _ in range(2):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while len(now := finished_in(out)) < len(finished) + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert now >= finished
        finished = finished_in(out)
    times = {name: (out / name).stat().st_mtime_ns for name in finished}
    subprocess.run(command, check=True)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == times
    assert len(outputs(out)) == 11
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    listed = [line["output"] for line in lines if "output" in line]
    assert sorted(listed) == sorted(outputs(out))
    assert all("sha256" in line for line in lines if "output" in line)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def finished_in(out):
    try:
        text = (out / "manifest.jsonl").read_text()
    except FileNotFoundError:
        return set()
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    return {line["output"] for line in lines if line.get("sha256")}
