import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.training.distributed import Workers, join_workers


def test_alone():
    workers = join_workers(torch.device("cpu"))
    network = nn.ReLU()
    assert workers == Workers(0, 1)
    assert workers.wrap(network) is network
    workers.wait()


@pytest.mark.parametrize(
    ("device", "backend", "chosen"), [("cuda", "nccl", [1]), ("cpu", "gloo", [])]
)
def test_joins_the_group_of_torchrun(monkeypatch, device, backend, chosen):
    joined, devices = [], []

    def join(backend, timeout):
        # the others wait while rank 0 trains the gate, which takes longer than torch's 10 minutes
        assert timeout >= timedelta(hours=12)
        joined.append(backend)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(dist, "init_process_group", join)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    assert join_workers(torch.device(device)) == Workers(1, 2, joined=True)
    assert joined == [backend]
    assert devices == chosen


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def two_processes(*command):
    """The return code and the errors of each."""
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, *command]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **group, "RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in ("0", "1")
    ]
    problems = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], problems


# Gloo now and then aborts a process that ends after a gather (docs/upstream-faults.md).
FAILED = {1, -signal.SIGABRT}
CHANGES = '{"steps": 2, "losses": {"adversarial": 0.01, "pixel": 10}, "holdout": 0}'


@pytest.mark.slow
def test_two_processes_keep_equal_weights_and_go_on_from_the_same_state(
    program, photo_folder, tmp_path
):
    """Each has a disk of its own, and rank 0 alone saves the run."""
    command = [program, tmp_path, photo_folder, "--set", CHANGES]
    codes, problems = two_processes(*command, "--keep-all")
    assert codes == [0, 0], problems
    first, second = (load_file(tmp_path / rank / "final.safetensors") for rank in "01")
    assert any(name.startswith("critic.") for name in first)
    for name, value in first.items():
        # batch statistics of the critic are each process's own until the next broadcast
        if "running_" not in name:
            assert torch.equal(value, second[name]), name
    assert (tmp_path / "0" / "purifier.safetensors").exists()
    assert not (tmp_path / "1" / "purifier.safetensors").exists()

    codes, problems = two_processes(*command, "--resume")
    assert set(codes) <= FAILED
    for text in problems:
        assert "InputError: the processes do not find the same state" in text
        assert "rank 0 has step 2, rank 1 has none; expected" in text
    codes, problems = two_processes(*command)
    assert set(codes) <= FAILED
    assert "add --resume to go on with it" in problems[0]
    assert "rank 0 cannot start, see its own error, rank 1 has none" in problems[1]
    shutil.copy(tmp_path / "0" / "state.pt", tmp_path / "1" / "state.pt")
    codes, problems = two_processes(*command, "--resume")
    assert codes == [0, 0], problems


def test_one_device_is_not_for_several_processes(monkeypatch):
    joined = []
    monkeypatch.setattr(dist, "init_process_group", joined.append)
    assert join_workers(torch.device("cuda:0")) == Workers(0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"device is cuda:0 and 2 processes .* cuda without an i"):
        join_workers(torch.device("cuda:0"))
    assert joined == []


@pytest.mark.parametrize(
    ("backend", "joined", "fails", "leaves"),
    [
        ("gloo", True, False, True),
        ("gloo", True, True, True),
        ("nccl", True, False, True),
        ("nccl", True, True, False),  # it would wait for processes that wait for this one
        ("gloo", False, False, False),
    ],
)
def test_leaves_the_group_that_it_joined(monkeypatch, backend, joined, fails, leaves):
    left = []
    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(True))
    with suppress(FloatingPointError), Workers(0, 2, joined):
        assert left == []
        if fails:
            raise FloatingPointError
    assert bool(left) == leaves


def test_alone_nothing_is_gathered():
    assert Workers().gather(7) == [7]
