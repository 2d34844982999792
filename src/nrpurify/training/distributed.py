"""Several processes on one run, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """Which of how many processes this is.

    Attributes:
        rank: From 0; rank 0 validates, logs and saves.
        world: Number of processes.
    """

    rank: int = 0
    world: int = 1

    def wrap(self, module: nn.Module) -> nn.Module:
        """Let gradients be averaged over all processes."""
        return DistributedDataParallel(module) if self.world > 1 else module

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()


def join_workers(device: torch.device) -> Workers:
    """Join the process group that ``torchrun`` describes in the environment, if there is one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Workers()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), world)
