"""Numbers in words."""

from __future__ import annotations


def plural(count: int, word: str) -> str:
    """Such as ``1 image`` and ``2 images``."""
    return f"{count} {word}{'' if count == 1 else 's'}"
