"""Residual blocks of surrogates, in which SGM and ghost networks change something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.models.features import this_thread_only

_KINDS = ("BasicBlock", "Bottleneck", "InvertedResidual", "DepthwiseSeparableConv", "Block")
"""Classes of this package, torchvision and timm in which a branch is added to the input."""
_FLAGS = ("has_skip", "use_res_connect", "residual")


class ResidualBlock(NamedTuple):
    """A block that adds a branch to its input, and the last layer of that branch."""

    block: nn.Module
    tail: nn.Module


def residual_blocks(model: object, attack: str) -> list[ResidualBlock]:
    """The blocks of a model whose shortcut is the identity.

    Args:
        model: The surrogate.
        attack: For the error.

    Raises:
        InputError: There is none.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    found = [ResidualBlock(block, _tail(block)) for block in modules if _adds_its_input(block)]
    if not found:
        raise InputError(
            f"{attack} works on networks with residual blocks; the surrogate is a "
            f"{type(model).__name__} without one that is known: take resnet50_thin_ridge, "
            "mobilenet_v2_ridge, efficientnet_lite0, or a ResNet of torchvision or timm"
        )
    return found


def _adds_its_input(block: nn.Module) -> bool:
    kind = type(block).__name__
    gated = kind in ("BasicBlock", "Bottleneck") and getattr(block, "se", None) is not None
    if kind not in _KINDS or gated:  # a gate after the last normalization ends the branch
        return False
    if isinstance(getattr(block, "shortcut", None), nn.Identity):
        return True
    if "downsample" in vars(block) and block.downsample is None:
        return True
    return any(getattr(block, flag, False) is True for flag in _FLAGS)


def _tail(block: nn.Module) -> nn.Module:
    """The last normalization of the branch; where they are folded, its last convolution."""
    for kind in (nn.BatchNorm2d, nn.Conv2d):
        found: list[nn.Module] = [layer for layer in block.modules() if isinstance(layer, kind)]
        if found:
            break
    return found[-1]


@contextmanager
def decayed(blocks: Sequence[ResidualBlock], gamma: float) -> Iterator[None]:
    """While the block runs, gradients through branches are multiplied by ``gamma``."""

    def decay(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gamma * gradient)  # type: ignore[no-untyped-call]

    handles = [tail.register_forward_hook(this_thread_only(decay)) for _, tail in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def scaled_shortcuts(blocks: Sequence[ResidualBlock], factors: Sequence[float]) -> Iterator[None]:
    """While the block runs, each block adds ``factor`` times its input to the branch."""
    handles = []
    for (block, tail), factor in zip(blocks, factors, strict=True):
        scaled = _ScaledShortcut(factor)
        handles.append(block.register_forward_pre_hook(scaled.remember))
        handles.append(tail.register_forward_hook(this_thread_only(scaled.add)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _ScaledShortcut:
    def __init__(self, factor: float) -> None:
        self.factor, self.owner, self.input = factor, get_ident(), None

    def remember(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        if get_ident() == self.owner:
            self.input = inputs[0]

    def add(self, tail: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert self.input is not None
        return output + (self.factor - 1) * self.input  # the block itself adds the input once
