"""What becomes of files of a run that cannot be read or written: one line with a way to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nrpurify.core.config import RecipeError, dotted
from nrpurify.core.errors import NrpurifyError, WeightsError

MADE_AGAIN = "delete it, and it is made again"


@contextmanager
def readable(file: Path, mend: str) -> Iterator[None]:
    """Name ``file`` and how to mend it when reading it fails in the block.

    Args:
        file: The file that the block reads.
        mend: What the user can do about a damaged file.

    Raises:
        WeightsError: In place of any exception but the package's own, and of RecipeError.
    """
    try:
        yield
    except RecipeError as error:
        rows = "; ".join(f"{dotted(place)}: {text}" for place, text in error.problems[:3])
        raise WeightsError(f"{file} cannot be read: {rows}; {mend}") from error
    except NrpurifyError:
        raise
    except KeyError as error:
        raise WeightsError(f"{file} cannot be read: it has no entry {error}; {mend}") from error
    except Exception as error:  # torch, safetensors and JSON raise many kinds
        raise WeightsError(f"{file} cannot be read: {_first_line(error)}; {mend}") from error


@contextmanager
def writable(file: Path) -> Iterator[None]:
    """Name ``file`` and the free space when writing it fails in the block.

    Raises:
        WeightsError: In place of OSError, and of what torch and safetensors raise on a full disk.
    """
    try:
        yield
    except NrpurifyError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{file} cannot be written: {_first_line(error)} ({_free(file)}); free some space or "
            "check the folder's permissions, then go on with --resume"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160].rstrip(".") if text else type(error).__name__


def _free(file: Path) -> str:
    try:
        return f"{shutil.disk_usage(file.parent).free / 1e6:.0f} MB free"
    except OSError:
        return "free space unknown"
