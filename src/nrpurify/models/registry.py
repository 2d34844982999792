"""The registry of victims; a classifier's file registers it with :func:`register_victim`."""

from __future__ import annotations

from typing import Any

from nrpurify.core.registry import Registry

VICTIMS: Registry[Any] = Registry("victim", package="nrpurify.models", group="nrpurify.victims")
register_victim = VICTIMS.register
"""Decorate a function that makes a classifier, or a network's class, under a name for specs.

It returns a model from images to logits N×C, or a pair of it and its
:class:`nrpurify.weights.Preprocessing`; its parameters are the settings of its spec. Without a
preprocessing the model takes images in [0, 1] as they are. The weights and the preprocessing of
built-in victims come from the table of :mod:`nrpurify.weights` by the same name.
"""
