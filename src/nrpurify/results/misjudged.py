"""Which values flatter a defense: those of white-box attacks that, by warnings, failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

WHITE_BOX = ("BPDA", "full gradient", "EOT")
"""Threats that follow a gradient through the defense or around it."""
MISJUDGING = ("no gradient", "black box beats white box", "survives large eps")
"""Kinds of warnings after which a stronger attack may find less of a defense."""
MISJUDGED = "flatters the defense: masked gradients, or an attack too weak; see the warnings"
"""What the mark † at a value means."""


def misjudged(
    cells: Iterable[Mapping[str, Any]], warnings: Iterable[Mapping[str, Any]]
) -> set[str]:
    """The ids of cells whose white-box attack failed, by masked gradients or as too weak.

    Args:
        cells: Results, or the objects that ``run.json`` holds.
        warnings: The run's, each with ``kind`` and ``cells``.
    """
    named = [warning["cells"] or [] for warning in warnings if warning["kind"] in MISJUDGING]
    failed = {name for names in named for name in names}
    return {cell["id"] for cell in cells if cell["threat"] in WHITE_BOX} & failed
