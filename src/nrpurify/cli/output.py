"""What commands print: results on stdout; notes, errors and progress on stderr."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console
from rich.progress import ProgressColumn, TextColumn
from rich.table import Table

from nrpurify.cli.progress import LoggedProgress, RateColumn, ShownProgress, make_progress
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable, read_json
from nrpurify.core.image_files import log_left_out
from nrpurify.core.progress import NO_VALUES, Progress

if TYPE_CHECKING:
    from nrpurify.batch import FolderResult


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A job's progress on stderr, nothing of it with ``--quiet``."""
    columns = (RateColumn(), TextColumn("{task.fields[info]}"))
    with make_progress(*columns, quiet=_quiet) as bars:
        yield ShownProgress(bars)


class NotedProgress(Progress):
    """A job's notes as lines on stderr, for commands that print results in between."""

    def note(self, text: str, values: Mapping[str, float] = NO_VALUES) -> None:
        """Print a line."""
        note(text)


def progress_bar(*extra: ProgressColumn) -> LoggedProgress:
    """Progress on stderr, nothing of it with ``--quiet``."""
    return make_progress(*extra, quiet=_quiet)


_quiet = False


def set_quiet(value: bool) -> None:
    """Whether progress and notes are left out."""
    global _quiet
    _quiet = value


def note(text: str) -> None:
    """Print a remark on stderr, except with ``--quiet``; control characters become escapes."""
    if not _quiet:
        complain(text)


def complain(text: str) -> None:
    """Print an error or what failed on stderr; control characters become escapes."""
    typer.echo(printable(text), err=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show the package's warnings as its errors: without a place in the code; others as ever."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if Path(filename).is_relative_to(_PACKAGE):
                complain(f"nrpurify: warning: {message}")
            else:
                shown(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


_PACKAGE = Path(__file__).parent.parent


def warn_renamed(old: str, new: str) -> None:
    """Warn that an option was given by its old name, which lives for one minor version."""
    complain(f"nrpurify: warning: {old} is now {new}; the old name goes with 0.3")


def printable(text: str) -> str:
    """Text with its control characters as escapes: those of a file's name reach no terminal."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\t"
        else character
        for character in text
    )


def note_precision(values: Mapping[str, Any], what: str) -> None:
    """Name the arithmetic that was used, where the result records it."""
    if used := values.get("precision"):
        note(f"{what} ran in {used}")


def exit_if_unread(unread: Sequence[str], word: str) -> None:
    """Name what could not be read, and end with exit code 1, if there is any.

    Args:
        unread: A line for each.
        word: What they are, such as ``image``.
    """
    if not unread:
        return
    from nrpurify.core.words import plural  # only where something failed

    are = "is" if len(unread) == 1 else "are"
    complain(f"{plural(len(unread), word)} could not be read and {are} in no number:")
    for text in unread:
        complain(f"  {text}")
    raise typer.Exit(1)


def check_result_file(path: Path, keys: Iterable[str]) -> None:
    """Check before long work that ``path`` can get a JSON result; an earlier one is replaced.

    Args:
        path: The file.
        keys: What results of the command have.

    Raises:
        InputError: It has another ending, cannot be written, or is a file of another kind.
    """
    if path.suffix.lower() != ".json":
        raise InputError(f"--out is {str(path)!r}; expected a name in .json")
    check_writable(path)
    if not path.exists():
        return
    try:
        found = read_json(path)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise InputError(
            f"--out is {str(path)!r}, a file that is no result of this command; give another name"
        )


def print_json(values: object) -> None:
    """Print plain values as JSON on stdout; what its encoding lacks is written as ``\\u0436``."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        plain = printable(text) == text
    except UnicodeEncodeError:
        plain = False
    typer.echo(text if plain else json.dumps(values, indent=2))


_FRAME = 3
"""What the lines of a table and the space beside them take of a column."""


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int] = ()
) -> None:
    """Print a table on stdout; a narrow terminal wraps all cells but those of the first column.

    Args:
        header: The headings.
        rows: As long as the header.
        widths: Of the first columns; where it breaks cells, there are lines between rows.
    """
    broken = any(
        len(cell) > width for row in rows for cell, width in zip(row, widths, strict=False)
    )
    table = Table(show_lines=broken)
    for index, name in enumerate(header):
        width = widths[index] if index < len(widths) else None
        table.add_column(name, overflow="fold", width=width, no_wrap=index == 0 and width is None)
    for row in rows:
        table.add_row(*map(printable, row))
    Console(markup=False, highlight=False).print(table)


def print_wide_table(header: Sequence[str], rows: Sequence[Sequence[str]], keys: int = 1) -> None:
    """Print a table as several of fewer columns where the terminal would break its cells.

    Each of them begins with the columns that identify a row. Where these leave no room, their cells
    break at spaces. Rows that are empty in all other columns are left out.

    Args:
        header: The headings.
        rows: As long as the header.
        keys: Number of the first columns that identify a row; empty ones are left out.
    """
    columns = range(len(header))
    heads = [[header[k]] if k < keys else header[k].split() for k in columns]
    whole = [_FRAME + _longest([*heads[k], *(row[k] for row in rows)]) for k in columns]
    words = [
        _FRAME + _longest(w for row in (header, *rows) for w in row[k].split()) for k in columns
    ]
    named = [k for k in range(keys) if k == 0 or any(row[k] for row in rows)]
    room = Console().width - 1
    widest = max(whole[keys:], default=0)
    least = whole if sum(whole[k] for k in named) + widest <= room else words
    room -= sum(least[k] for k in named)
    for group in _fitting(columns[keys:], whole, room):
        spare = max(0, room - sum(whole[k] for k in group))
        widths = []
        for k in named:
            more = min(spare, whole[k] - least[k])
            widths.append(least[k] + more - _FRAME)
            spare -= more
        shown = [*named, *group]
        kept = [[row[k] for k in shown] for row in rows if any(row[k] for k in group)]
        print_table([header[k] for k in shown], kept, widths)


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _fitting(columns: Iterable[int], needed: Sequence[int], room: int) -> Iterator[list[int]]:
    """The columns in groups that fit into the room, at least one in each."""
    group: list[int] = []
    for k in columns:
        if group and sum(needed[one] for one in (*group, k)) > room:
            yield group
            group = []
        group.append(k)
    yield group


def finish_folder(
    result: FolderResult, verb: str, details: dict[str, Any], as_json: bool, where: str = ""
) -> None:
    """Print a folder's summary and end with exit code 1 if files failed."""
    failures = result.failures
    counts = f"{result.count('done')} {verb}, {result.count('skipped')} kept"
    if result.parts is not None:
        counts += f", {result.parts} images inside"
    counts += f", {len(failures)} failed in {details['seconds']} s"
    made = any(item.status != "failed" for item in result.items)
    note(f"{counts}: {where or result.where}" if made else counts)
    for _, reason in failures:
        complain(f"  {reason}")
    log_left_out([left for left in result.left_out if not left.lost])
    if as_json:
        print_json({**result.to_dict(), **details})
    if failures:
        raise typer.Exit(1)


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        show = complain if record.levelno >= logging.WARNING else note
        show(self.format(record))


@contextmanager
def weights_log() -> Iterator[None]:
    """Show on stderr what the package's loggers tell, such as that weights are being fetched."""
    logger, handler = logging.getLogger("nrpurify"), _ToStderr()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
