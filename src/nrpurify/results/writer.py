"""The one writer of ``run.json``."""

from __future__ import annotations

from pathlib import Path

from nrpurify.core.files import write_json
from nrpurify.results.reader import RUN_FILE
from nrpurify.results.result import Run


def write_run(folder: str | Path, run: Run) -> None:
    """Write ``run.json`` into a run folder, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    write_json(Path(folder) / RUN_FILE, run.to_dict())
