"""Purifier networks: building, loading, saving, running."""

from nrpurify.core.model_card import Card
from nrpurify.purifiers.checkpoint import (
    DEFAULT,
    build_purifier,
    convert_checkpoint,
    load_purifier,
    save_purifier,
    shipped,
)
from nrpurify.purifiers.gate import Gate
from nrpurify.purifiers.purifier import DynamicPurifier, Purifier
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
