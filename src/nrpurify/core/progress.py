"""How long jobs report what they have done: one protocol for all of them."""

from __future__ import annotations

from collections.abc import Mapping

NO_VALUES: Mapping[str, float] = {}


class Progress:
    """What a user interface sees of a job. This one shows nothing; override what you show.

    >>> class Printed(Progress):  # doctest: +SKIP
    ...     def update(self, what, done, total, values=NO_VALUES):
    ...         print(f"{what}: {done} of {total}")
    """

    def update(
        self, what: str, done: int, total: int | None, values: Mapping[str, float] = NO_VALUES
    ) -> None:
        """Some of the work has been done.

        Args:
            what: The piece of work, such as ``evaluate`` or ``train``.
            done: Its images, cells or steps that are done.
            total: All of them; None where their number is not known.
            values: Measured so far, such as ``loss``.
        """

    def note(self, text: str, values: Mapping[str, float] = NO_VALUES) -> None:
        """A piece is done: a line about it, and what was measured."""

    def warn(self, text: str) -> None:
        """Something may mislead the reader of the results."""


SILENT = Progress()
"""Shows nothing; the default of all jobs."""
