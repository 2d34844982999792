"""Progress of all commands: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from nrpurify.core.progress import NO_VALUES, Progress

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal for a bar."""
_SHOWN = ("loss", "excitation")
"""Values that stand beside a bar."""


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before it is known."""
        return Text(f"{task.speed:.2f}/s" if task.speed else "")


class LoggedProgress(rich_progress.Progress):
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


class ShownProgress(Progress):
    """A job's progress as a bar for each piece of work, and a line for each note and warning."""

    def __init__(self, bars: LoggedProgress) -> None:
        self.bars = bars
        self._tasks: dict[str, TaskID] = {}

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        """Move the bar of a piece of work, with its loss beside it."""
        if what not in self._tasks:
            task = self.bars.add_task(what, total=total, completed=done - 1, info="")
            self._tasks[what] = task
        shown = {name: values[name] for name in _SHOWN if name in values}
        info = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self.bars.update(self._tasks[what], completed=done, total=total, info=info)

    def note(self, text: str, values: Mapping[str, float] = NO_VALUES) -> None:
        """Print a line above the bars."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.bars.say(": ".join(part for part in (text, shown) if part))

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        self.bars.say(f"warning: {text}")
