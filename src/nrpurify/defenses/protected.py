"""``protect(model)``: a defense in front of any model, as one module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.errors import InputError
from nrpurify.purifiers import DEFAULT, DynamicPurifier, load_purifier

Images = Tensor | list[Tensor]


class Protected(nn.Module):
    """A model that sees its images only through a defense.

    Differentiable from end to end, so that adaptive attacks see the whole.

    Args:
        model: Any module or callable whose first argument is N×3×H×W images in [0, 1], or, as
            torchvision's detectors take it, a list of 3×H×W images.
        defense: Maps N×3×H×W images in [0, 1] to the same.
    """

    def __init__(self, model: Callable[..., Any], defense: nn.Module) -> None:
        super().__init__()
        self.defense = defense
        self.model = model

    def forward(self, images: Images, *args: Any, **kwargs: Any) -> Any:
        """Call the model with defended images; all else is passed on as it is."""
        if isinstance(images, Tensor):
            return self.model(self.defense(images), *args, **kwargs)
        defended = [self.defense(image[None])[0] for image in images]
        return self.model(defended, *args, **kwargs)


class MajorityVote(nn.Module):
    """A classifier's answer by the majority of several passes of a random defense.

    Args:
        model: Returns N×classes scores; random, or the passes agree.
        passes: Number of passes.
    """

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        if passes < 1:
            raise InputError(f"passes is {passes}; expected at least 1")
        self.model, self.passes = model, passes

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """N×classes shares of the votes, each row summing to one; without gradients."""
        votes = []
        for _ in range(self.passes):
            scores = self.model(images)
            votes.append(F.one_hot(scores.argmax(1), scores.shape[1]))
        return torch.stack(votes).float().mean(0)


def protect(
    model: Callable[..., Any],
    defense: str | Path | nn.Module = DEFAULT,
    *,
    mode: Literal["static", "dynamic"] = "static",
    generator: Generator | None = None,
) -> Protected:
    """Put a purifier in front of a model, which is neither retrained nor changed.

    >>> model = protect(torchvision_model)  # doctest: +SKIP

    Args:
        model: See :class:`Protected`.
        defense: A shipped purifier's name, a checkpoint file, or any module from images to
            images.
        mode: ``static``: one pass. ``dynamic``: a random step first (appendix B.1).
        generator: For ``dynamic``, a CPU generator.

    Raises:
        InputError: No such purifier or mode.
    """
    module = defense if isinstance(defense, nn.Module) else load_purifier(defense)
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    if mode == "dynamic":
        module = DynamicPurifier(module, generator=generator)
    device = next((tensor.device for tensor in _tensors(model)), None)
    return Protected(model, module.to(device))


def _tensors(model: Callable[..., Any]) -> list[Tensor]:
    if not isinstance(model, nn.Module):
        return []
    return [*model.parameters(), *model.buffers()]
