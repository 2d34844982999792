"""Plain functions in the place of modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nrpurify.core.errors import InputError


class Function(nn.Module):
    """A function as a module without weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


def check_callable(given: object, name: str, expected: str = "a module or function") -> None:
    """Raise InputError unless ``given`` is a module or function; a class is neither.

    Args:
        given: What was given.
        name: What messages call it.
        expected: What they say is expected.
    """
    if isinstance(given, type):
        raise InputError(
            f"{name} is the class {given.__name__}; expected an object of it: {given.__name__}(...)"
        )
    if not callable(given):
        kind = "None" if given is None else f"a {type(given).__name__}"
        raise InputError(f"{name} is {kind}; expected {expected}")


def as_module(
    given: Callable[..., Any], name: str, expected: str = "a module or function"
) -> nn.Module:
    """The module itself, or a function as one; the arguments are those of :func:`check_callable`.

    Raises:
        InputError: Neither of the two.
    """
    check_callable(given, name, expected)
    return given if isinstance(given, nn.Module) else Function(given)


def call_with_rgb(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a model with RGB images among its arguments.

    Raises:
        InputError: It takes images of one channel.
    """
    if torch.compiler.is_compiling():
        return model(*args, **kwargs)
    try:
        return model(*args, **kwargs)
    except RuntimeError as error:
        if "to have 1 channels, but got 3 channels" not in str(error):
            raise
        raise InputError(
            "the model takes images of one channel and was given RGB; wrap it: lambda x: "
            "model(x.mean(1, keepdim=True)). No purifier was trained or measured on gray images"
        ) from error
