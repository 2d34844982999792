"""Several processes on one run, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nrpurify.core.errors import InputError

PATIENCE = timedelta(days=1)
"""How long processes wait for each other.

Rank 0 alone trains the gate and validates, and each fills a cache of its own, while the others
wait. Torch's 10 minutes (NCCL) and 30 (Gloo) are less than that takes. A process that dies ends the
wait at once: its connections break, and ``torchrun`` stops the others.
"""

_KEPT: list[torch.Tensor] = []
"""Numbers that were gathered.

A thread of gloo's lets go of them when it pleases. If it is the last to do so it needs the
interpreter, and where that is at its end by then the process is aborted.
"""


@dataclass(frozen=True)
class Workers:
    """Which of how many processes this is.

    Attributes:
        rank: From 0; rank 0 validates, logs and saves.
        world: Number of processes.
        joined: Whether the process group was joined for this, and not by the caller before.
    """

    rank: int = 0
    world: int = 1
    joined: bool = False

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
        _KEPT.extend((given, *found))
        return [int(one) for one in found]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def __enter__(self) -> Self:
        """Work until the ``with`` ends, and leave the group that was joined for it.

        A process that ends as a member may be aborted on its way out.
        """
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        # after an error NCCL would wait for the others, who may be waiting for this process
        if self.joined and (error is None or dist.get_backend() == "gloo"):
            dist.destroy_process_group()


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
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Workers(dist.get_rank(), world, joined)
