import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

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
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(dist, "init_process_group", joined.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    assert join_workers(torch.device(device)) == Workers(1, 2)
    assert joined == [backend]
    assert devices == chosen


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_two_processes_keep_equal_weights(program, photo_folder, tmp_path):
    changes = '{"steps": 2, "losses": {"adversarial": 0.01, "pixel": 10}, "holdout": 0}'
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, program, tmp_path, photo_folder, "--set", changes, "--keep-all"]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **group, "RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in ("0", "1")
    ]
    problems = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], problems
    first, second = (load_file(tmp_path / rank / "final.safetensors") for rank in "01")
    assert any(name.startswith("critic.") for name in first)
    for name, value in first.items():
        # batch statistics of the critic are each process's own until the next broadcast
        if "running_" not in name:
            assert torch.equal(value, second[name]), name
    assert (tmp_path / "0" / "purifier.safetensors").exists()
    assert not (tmp_path / "1" / "purifier.safetensors").exists()
