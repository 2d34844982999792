"""Progress of all commands: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal for a bar."""


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before it is known."""
        return Text(f"{task.speed:.2f}/s" if task.speed else "")


class LoggedProgress(Progress):
    """A bar on a terminal; without one, lines.

    Of each piece of work (a task's description) it prints the first and the last step, and one in
    between each :data:`LINE_EVERY` seconds.
    """

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._starts: dict[str, tuple[float, float]] = {}
        self._printed = 0.0

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a bar, as rich does, or print a line."""
        super().update(task_id, **changes)
        task = next(task for task in self.tasks if task.id == task_id)
        if self.disable and task.total and task.completed:
            self._line(task.description, task.completed, task.total, task.fields.get("info", ""))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, name: str, done: float, total: float, info: str) -> None:
        now = time.monotonic()
        is_first = name not in self._starts
        if not (is_first or done == total or now - self._printed >= LINE_EVERY):
            return
        start, before = self._starts.setdefault(name, (now, done))
        left = (now - start) / (done - before) * (total - done) if done > before else 0.0
        time_left = f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"
        parts = [f"{name} {done:.0f}/{total:.0f}", info, time_left if left else ""]
        self.say(", ".join(part for part in parts if part))
        self._printed = now


def make_progress(*extra: ProgressColumn, quiet: bool = False) -> LoggedProgress:
    """Progress on stderr.

    Args:
        extra: Columns behind the ordinary ones.
        quiet: Show nothing.
    """
    return LoggedProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *extra,
        console=Console(stderr=True, quiet=quiet),
    )


class TrainingProgress:
    """Shows a run: the adversary cache, the steps with their loss, and each validation."""

    def __init__(self, progress: LoggedProgress) -> None:
        self.progress = progress
        self._tasks: dict[str, TaskID] = {}

    def _update(self, name: str, done: int, total: int, info: str = "") -> None:
        if name not in self._tasks:
            task = self.progress.add_task(name, total=total, completed=done - 1, info="")
            self._tasks[name] = task
        self.progress.update(self._tasks[name], completed=done, total=total, info=info)

    def cached(self, done: int, wanted: int) -> None:
        """Another shard of adversaries is there."""
        self._update("adversaries", done, wanted)

    def stepped(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step is done."""
        self._update("train", step, steps, f"loss {values['loss']:.4f}")

    def gated(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step of the gate's training is done."""
        self._update("gate", step, steps, f"loss {values['loss']:.4f}")

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        """A validation is done."""
        text = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        self.progress.say(f"step {step}: {text}")
