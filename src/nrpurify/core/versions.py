"""What a result was made with."""

import platform

import torch

import nrpurify


def versions() -> dict[str, str]:
    """Versions of this package, torch and Python, for the record."""
    return {
        "nrpurify": nrpurify.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
