"""The registry of defenses; a defense's file registers it with :func:`register_defense`."""

from __future__ import annotations

from torch import nn

from nrpurify.core.registry import Registry

DEFENSES: Registry[nn.Module] = Registry(
    "defense", package="nrpurify.defenses", group="nrpurify.defenses"
)
register_defense = DEFENSES.register
"""Decorate a module's class, or a function that makes a module, under a name for specs.

The module maps N×3×H×W images in [0, 1] to N×3×H'×W' ones. Its settings are the parameters of the
class or function; a random one takes a ``generator``, a CPU generator. ``source`` names who
described it, and ``differentiable=False`` marks one without a gradient.

>>> @register_defense("flip", source="control")
... class Flip(nn.Module):
...     def forward(self, images):
...         return images.flip(3)
"""
