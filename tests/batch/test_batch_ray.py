"""A Ray cluster of two workers on this machine: slow, some seconds to start."""

import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.batch import purify_folder, read_records
from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.defenses import make

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "in"
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index:02}.png")
    (path / "05.png").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def cluster():
    """Two workers; the command line in a process of its own starts its own."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def outputs(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def purified(folder, name, **options):
    defense = options.pop("defense", None) or make("jpeg:quality=40+noise")
    about = {"defense": "jpeg:quality=40+noise"}
    return purify_folder(folder, folder.parent / name, defense, amp=False, about=about, **options)


def test_no_cluster_at_the_address(folder):
    with pytest.raises(InputError, match="no Ray cluster at '127"):
        purified(folder, "none", engine="ray", address="127.0.0.1:1")


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_and_repeats_nothing(folder):
    purified(folder, "threads", defense=Slow())
    expected = outputs(folder.parent / "threads")
    killed = []

    class Killer(Progress):
        def update(self, what, done, total, values=NO_VALUES):
            if not killed:
                killed.append(worker_of_this_run())
                os.kill(killed[0], signal.SIGKILL)

    result = purified(folder, "ray", engine="ray", workers=2, progress=Killer(), defense=Slow())
    assert len(killed) == 1
    assert [item.status for item in result.items].count("done") == 23
    assert [item.job.source.name for item in result.items if item.status == "failed"] == ["05.png"]
    assert outputs(folder.parent / "ray") == expected
    records = read_records(folder.parent / "ray")
    assert records.files == read_records(folder.parent / "threads").files
    again = purified(folder, "ray", engine="ray", workers=2, defense=Slow())
    assert again.count("skipped") == 23


class Slow(torch.nn.Module):
    """Leaves time to find the process."""

    def forward(self, images):
        time.sleep(0.2)
        return 1 - images


def worker_of_this_run():
    """The id of a process that runs a task of this driver's cluster."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()[1:]]
    children = {os.getpid()}
    for _ in range(4):
        children |= {int(row[0]) for row in rows if int(row[1]) in children}
    mine = [
        int(row[0]) for row in rows if int(row[0]) in children and row[2].startswith("ray::_make")
    ]
    assert mine, listed.stdout
    return mine[0]


@pytest.mark.usefixtures("cluster")
def test_a_file_that_kills_each_worker_fails_alone(folder):
    result = purified(folder, "deadly", engine="ray", workers=2, defense=Deadly())
    assert result.count("failed") == 2  # with the broken one
    assert result.count("done") == 22


class Deadly(torch.nn.Module):
    """Ends its process at one image."""

    def forward(self, images):
        if (255 * images[0, 0, 0, :4]).round().tolist() == FIRST:
            os._exit(1)
        return images


FIRST = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)[0, :4, 0].tolist()


def test_a_tar_and_the_command_line(folder):
    with tarfile.open(folder.parent / "x.tar", "w") as archive:
        for path in sorted(folder.glob("0[0-4].png")):
            archive.add(path, path.name)
    command = [sys.executable, "-m", "nrpurify", "purify", "x.tar", "in/06.png", "cli/"]
    command += ["--defense", "jpeg", "--engine", "ray", "--workers", "2"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 purified, 0 kept, 5 images inside, 0 failed" in done.stderr
    assert sorted(p.name for p in (folder.parent / "cli").iterdir()) == [
        "06.png",
        "manifest.jsonl",
        "x.tar",
    ]
