"""Several processes on one run, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nrpurify.errors import InputError


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

    def gather(self, number: int) -> list[int]:
        """The number that each process gives, by rank; waits until all have given theirs."""
        if self.world == 1:
            return [number]
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        given = torch.tensor([number], device=device)
        found = [torch.zeros_like(given) for _ in range(self.world)]
        dist.all_gather(found, given)
        return [int(one) for one in found]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()


def join_workers(device: torch.device) -> Workers:
    """Join the process group that ``torchrun`` describes in the environment, if there is one.

    Args:
        device: Where to work; with several processes ``cuda`` without an index, so that each has
            the one of its LOCAL_RANK.

    Raises:
        InputError: One CUDA device was given to several processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Workers()
    if device.type == "cuda":
        if device.index is not None:
            raise InputError(
                f"device is {device} and {world} processes share the run; expected cuda without an "
                "index: each process then takes the device of its LOCAL_RANK"
            )
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), world)
