"""Importing a library that only a test bench has."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from nrpurify.core.errors import NrpurifyError

ART = ("the Adversarial Robustness Toolbox", "adversarial-robustness-toolbox")
FOOLBOX = ("foolbox", "foolbox")


class MissingLibraryError(NrpurifyError, ImportError):
    """An attack library that this package does not bring along is not installed."""

    def __init__(self, name: str, requirement: str) -> None:
        super().__init__(f"{name} is not installed; install it with: pip install {requirement}")


def library(module: str, name: str, requirement: str) -> Any:
    """Import ``module``, without the deprecation warnings that its own imports raise.

    Args:
        module: Its dotted name.
        name: What people call the library.
        requirement: What pip takes.

    Raises:
        MissingLibraryError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(module)
    except ImportError as error:
        raise MissingLibraryError(name, requirement) from error
