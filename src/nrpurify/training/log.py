"""Where a run writes what it measures: JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from nrpurify.files import write_text


class RunLog:
    """Appends to ``log.jsonl`` in a run's folder, and to ``tensorboard/`` when it can.

    Args:
        folder: The run's folder.
        step: Lines of later steps, which a killed run may have left behind its last checkpoint,
            are taken out.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.file = folder / "log.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        write_text(self.file, "".join(f"{line}\n" for line in kept))
        self._board = _summary_writer(folder / "tensorboard", step)
        before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self._start = time.monotonic() - before

    def _lines(self) -> list[str]:
        if not self.file.exists():
            return []
        return [line for line in self.file.read_text().splitlines() if line.endswith("}")]

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Append one line: ``kind`` (``train`` or ``validation``), step, seconds and values.

        Seconds count those of the lines from before a resume.
        """
        row = {"kind": kind, "step": step, "seconds": round(time.monotonic() - self._start, 2)}
        with self.file.open("a") as out:
            out.write(json.dumps({**row, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush everything."""
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step + 1)
