"""The one family of errors that a user can mend.

Every message names what was given, what was expected and how to mend it. The command line prints
it without a traceback; library users may catch :class:`NrpurifyError` for all of them.
"""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def first_line(error: Exception) -> str:
    """The first line of somebody else's error, at most 300 letters, for a message of ours."""
    return (str(error).strip() or repr(error)).splitlines()[0][:300]


class NrpurifyError(Exception):
    """Base of all errors that this package raises on purpose.

    Examples:
        >>> try:
        ...     nrpurify.load_purifier("fats")
        ... except nrpurify.NrpurifyError as error:
        ...     print("fast" in str(error))
        True
    """


class InputError(NrpurifyError, ValueError):
    """A value, image, label or name that was given is not one that the call can take."""


class WeightsError(NrpurifyError, OSError):
    """Named weights could not be found, fetched, verified or read."""


class ImageError(NrpurifyError, OSError):
    """An image file could not be read or written."""


class DivergenceError(NrpurifyError, FloatingPointError):
    """A training's loss or gradient is infinite or NaN."""


class AttackError(NrpurifyError, RuntimeError):
    """An attack broke its budget, left [0, 1], changed shapes or returned NaN."""


class GradientWarning(UserWarning):
    """An attack met gradients of zeros, NaN or infinite entries, or a model that misleads it."""


class MissingExtraError(NrpurifyError, ImportError):
    """A package of an optional extra is needed and not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed; "
            f"install it with: pip install 'nrpurify[{extra}]'"
        )


class PluginError(NrpurifyError, RuntimeError):
    """A plug-in failed: its import, its construction or its call."""
