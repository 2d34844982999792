"""Time and memory of a piece of work."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from types import TracebackType

import torch


class Meter:
    """Measures the block that it is entered for.

    Attributes:
        seconds: Wall time.
        peak_memory_mb: On CUDA the most that torch held; elsewhere the most that the process held
            resident since the block began (Linux) or since it started (other systems that tell);
            None where that is unknown.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.seconds = 0.0
        self.peak_memory_mb: float | None = None

    def __enter__(self) -> Meter:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _forget_peak()
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._begun
        if self.device.type == "cuda":
            self.peak_memory_mb = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            self.peak_memory_mb = _peak_mb()


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # no Linux, or not allowed: the peak is the process's own


def _peak_mb() -> float | None:
    try:
        rows = Path("/proc/self/status").read_text().splitlines()
        return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _peak_of_process()


def _peak_of_process() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    per_mb = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb
