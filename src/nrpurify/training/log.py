"""Where a run writes what it measures: JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from nrpurify.core.errors import WeightsError
from nrpurify.core.files import write_text
from nrpurify.training.run_folder import readable, writable


class RunLog:
    """Appends to ``log.jsonl`` in a run's folder, and to ``tensorboard/`` when it can.

    Args:
        folder: The run's folder.
        step: Lines of later steps, which a killed run may have left behind its last checkpoint,
            are taken out.

    Raises:
        WeightsError: ``log.jsonl`` is damaged or cannot be written.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.file = folder / "log.jsonl"
        kept = [(line, row) for line, row in self._rows() if row["step"] <= step]
        with writable(self.file):
            write_text(self.file, "".join(f"{line}\n" for line, _ in kept))
            self._board = _summary_writer(folder / "tensorboard", step)
        before = kept[-1][1]["seconds"] if kept else 0.0
        self._start = time.monotonic() - before

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Whole lines with what they say; a kill leaves lines without an end."""
        if not self.file.exists():
            return []
        with readable(self.file, "delete it, or mend it with an editor"):
            lines = enumerate(self.file.read_text(encoding="utf-8").splitlines(), 1)
        return [(line, self._row(number, line)) for number, line in lines if line.endswith("}")]

    def _row(self, number: int, line: str) -> dict[str, Any]:
        try:
            row: dict[str, Any] = json.loads(line)
            if row["step"] >= 0 and row["seconds"] >= 0:
                return row
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise WeightsError(
            f"{self.file}, line {number} is {line[:60]!r}; expected a JSON object with step and "
            "seconds: delete the line"
        )

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Append one line: ``kind`` (``train`` or ``validation``), step, seconds and values.

        Seconds count those of the lines from before a resume.
        """
        row = {"kind": kind, "step": step, "seconds": round(time.monotonic() - self._start, 2)}
        with writable(self.file):
            with self.file.open("a", encoding="utf-8") as out:
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
