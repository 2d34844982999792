"""Outlines of objects in COCO's two forms: polygons, and run lengths plain or as a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nrpurify.core.errors import MissingExtraError

Outline = list[list[float]] | dict[str, Any]
"""Polygons, each x, y, x, y ... in pixels, or ``{"size": [H, W], "counts": run lengths}``."""
_BITS, _SIGN, _MORE, _FIRST = 5, 0x10, 0x20, 48
_REACH = 10
"""How far polygons may reach, in longer sides of the image: drawing walks along all of them."""


def read_outline(given: Any, height: int, width: int) -> Outline | None:
    """An outline that can be drawn, None of anything else; texts of run lengths are spelled out.

    Polygons may leave the image, but no coordinate may be beyond ten of its longer sides.

    Args:
        given: What an annotation file holds.
        height: Of the image in pixels.
        width: Of the image in pixels.
    """
    if isinstance(given, list):
        far = _REACH * max(height, width)
        return given if given and all(_is_polygon(points, far) for points in given) else None
    if not isinstance(given, dict) or given.get("size") != [height, width]:
        return None
    counts = given.get("counts")
    runs = _spelled_out(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return None
    return {"size": [height, width], "counts": runs} if sum(runs) == height * width else None


def _is_polygon(points: Any, far: int) -> bool:
    return (
        isinstance(points, list)
        and len(points) >= 6
        and len(points) % 2 == 0
        and all(isinstance(value, int | float) and abs(value) <= far for value in points)
    )


def _spelled_out(text: str) -> list[int] | None:
    """The run lengths of COCO's text: five bits a letter, from the third on as differences."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - _FIRST
        if not 0 <= bits < 1 << (_BITS + 1) or shift > 30:
            return None
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def draw_outlines(outlines: Sequence[Outline] | None, height: int, width: int) -> Tensor | None:
    """K×H×W boolean masks of K outlines, by COCO's own rules; None of None.

    Raises:
        MissingExtraError: faster-coco-eval is not installed.
    """
    if outlines is None:
        return None
    try:
        from faster_coco_eval.core import mask as codes
    except ImportError as error:
        raise MissingExtraError("faster-coco-eval", "tasks") from error
    masks = torch.zeros(len(outlines), height, width, dtype=torch.bool)
    for k, outline in enumerate(outlines):
        code = codes.frPyObjects(outline, height, width)
        merged = codes.merge(code) if isinstance(code, list) else code
        masks[k] = torch.from_numpy(codes.decode(merged).astype(bool))
    return masks
