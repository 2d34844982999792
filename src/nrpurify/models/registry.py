"""The registries of classifiers and of feature networks; a network's own file registers it."""

from __future__ import annotations

from typing import Any

from torch import nn

from nrpurify.core.registry import Registry

VICTIMS: Registry[Any] = Registry("victim", package="nrpurify.models", group="nrpurify.victims")
register_victim = VICTIMS.register
"""Decorate a function that makes a classifier, or a network's class, under a name for specs.

It returns a model from images to logits N×C, or a pair of it and its
:class:`nrpurify.weights.Preprocessing`; its parameters are the settings of its spec. Without a
preprocessing the model takes images in [0, 1] as they are. The weights and the preprocessing of
built-in victims come from the table of :mod:`nrpurify.weights` by the same name.
"""

BODIES: Registry[nn.Module] = Registry("body", package="nrpurify.models", group="nrpurify.bodies")
register_body = BODIES.register
"""Decorate what makes a network for :func:`nrpurify.models.features.feature_extractor`.

``layer`` is the one at which it stops by default. Weights and preprocessing come from the table of
:mod:`nrpurify.weights` by the same name.
"""
