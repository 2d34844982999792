"""What a user interface sees of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nrpurify.core.progress import NO_VALUES, Progress

if TYPE_CHECKING:
    from nrpurify.results import Result


class EvaluationProgress(Progress):
    """What a user interface sees of an evaluation, besides images; override what you show."""

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Another result is there, measured now or ``kept`` from before."""

    def warned(self, warning: Mapping[str, Any]) -> None:
        """A warning, as soon as it is known."""


class PlainProgress(EvaluationProgress):
    """Passes results and warnings on to a plain progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        """Images of a piece of work."""
        self.progress.update(what, done, total, values)

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Another result."""
        self.progress.update("results", done, total)

    def warned(self, warning: Mapping[str, Any]) -> None:
        """A warning."""
        self.progress.warn(f"{warning['kind']}: {warning['text']}")
