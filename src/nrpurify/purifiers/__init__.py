"""Purifier networks: building, loading, saving, running."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.core.model_card import Card
    from nrpurify.purifiers.checkpoint import (
        DEFAULT,
        build_purifier,
        load_purifier,
        save_purifier,
        shipped,
    )
    from nrpurify.purifiers.convert import convert_checkpoint
    from nrpurify.purifiers.dynamic import DynamicPurifier
    from nrpurify.purifiers.gate import Gate
    from nrpurify.purifiers.purifier import Purifier
    from nrpurify.purifiers.registry import DESIGNS, Design, register_purifier
    from nrpurify.purifiers.strength import Strength

__all__ = [
    "DEFAULT",
    "DESIGNS",
    "Card",
    "Design",
    "DynamicPurifier",
    "Gate",
    "Purifier",
    "Strength",
    "build_purifier",
    "convert_checkpoint",
    "load_purifier",
    "register_purifier",
    "save_purifier",
    "shipped",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.core.model_card": ("Card",),
        "nrpurify.purifiers.checkpoint": (
            *("DEFAULT", "build_purifier", "load_purifier", "save_purifier", "shipped"),
        ),
        "nrpurify.purifiers.convert": ("convert_checkpoint",),
        "nrpurify.purifiers.dynamic": ("DynamicPurifier",),
        "nrpurify.purifiers.gate": ("Gate",),
        "nrpurify.purifiers.purifier": ("Purifier",),
        "nrpurify.purifiers.registry": ("DESIGNS", "Design", "register_purifier"),
        "nrpurify.purifiers.strength": ("Strength",),
    },
)
