"""The command ``nrpurify``."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # not from typing: a Ctrl-C before main() runs ends in a traceback
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: all is well. 1: some files failed, the others are done. 2: bad input, with one line on
    stderr; also when the extra ``cli`` is not installed. 130: interrupted from the keyboard.

    Args:
        args: The arguments, by default those of the process.
    """
    try:
        for package in ("typer", "rich"):
            importlib.import_module(package)
        from nrpurify.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        from nrpurify.core.errors import MissingExtraError

        print(f"nrpurify: error: {MissingExtraError(error.name, 'cli')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while modules are imported
        from nrpurify.core.errors import INTERRUPTED

        print("nrpurify: interrupted", file=sys.stderr)
        return INTERRUPTED
    return run(args)
