"""The HTTP service behind ``nrpurify serve``; the names are loaded when they are first used."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.serving.app import create_app
    from nrpurify.serving.run import run_server
    from nrpurify.serving.settings import ServeSettings

__all__ = ["ServeSettings", "create_app", "run_server"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.serving.app": ("create_app",),
        "nrpurify.serving.run": ("run_server",),
        "nrpurify.serving.settings": ("ServeSettings",),
    },
)
