"""The registry of segmenters; a segmenter's own file registers it."""

from __future__ import annotations

from typing import Any

from nrpurify.core.registry import Registry

SEGMENTERS: Registry[Any] = Registry(
    "segmenter", package="nrpurify.models.segmenters", group="nrpurify.segmenters"
)
register_segmenter = SEGMENTERS.register
"""Decorate what makes a segmenter, under a name for specs; its parameters are the settings.

It returns a :class:`~nrpurify.models.segmenters.Segmenter`, or a network and the names of its
classes.
"""
