"""``protect(model)``: a defense in front of any model, as one module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.defenses.chain import passes_of
from nrpurify.defenses.frames import bring_back, defend
from nrpurify.defenses.randomness import Combine, check_passes, reseed
from nrpurify.defenses.registry import make
from nrpurify.errors import InputError
from nrpurify.purifiers import DEFAULT, DynamicPurifier, load_purifier

Images = Tensor | list[Tensor]


class Protected(nn.Module):
    """A model that sees its images only through a defense.

    As differentiable as the two are, so that adaptive attacks see the whole. Behind a defense that
    changes the size, boxes, masks, keypoints and values of pixels come back in the frames of the
    images as given.

    Args:
        model: Any module or callable whose first argument is N×3×H×W images in [0, 1], or, as
            torchvision's detectors take it, a list of 3×H×W images.
        defense: Maps N×3×H×W images in [0, 1] to the same.
        passes: How often the model is asked about each image; more than 1 only for classifiers
            and random defenses. All passes of an image go together, image after image.
        combine: ``mean`` of the logits, or each class's share of the ``vote`` (without a gradient).

    Raises:
        InputError: Passes or a combination that cannot be used; when called: several passes of a
            model that does not return N×classes, or an answer that cannot be brought back, see
            :func:`nrpurify.defenses.frames.bring_back`.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        defense: nn.Module,
        *,
        passes: int = 1,
        combine: Combine = "mean",
    ) -> None:
        super().__init__()
        check_passes(passes, combine)
        self.defense = defense
        self.model = model
        self.passes, self.combine = passes, combine

    def forward(self, images: Images, *args: Any, **kwargs: Any) -> Any:
        """Call the model with defended images; all else is passed on as it is."""
        if self.passes > 1:
            return torch.cat([self._several(image, *args, **kwargs) for image in images])
        if isinstance(images, Tensor):
            defended, frames = defend(self.defense, images)
            return bring_back(self.model(self._cast(defended), *args, **kwargs), frames)
        each = [defend(self.defense, image[None]) for image in images]
        shown = [self._cast(defended)[0] for defended, _ in each]
        frames = [frame for _, found in each for frame in found]
        return bring_back(self.model(shown, *args, **kwargs), frames)

    def _cast(self, defended: Tensor) -> Tensor:
        """In the model's precision: attacks give images in that of the defense."""
        kinds = (tensor.dtype for tensor in _tensors(self.model) if tensor.is_floating_point())
        return defended.to(next(kinds, defended.dtype))

    def _several(self, image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copies = image.expand(self.passes, *image.shape)
        answers = self.model(self._cast(self.defense(copies)), *args, **kwargs)
        if not isinstance(answers, Tensor) or answers.ndim != 2:
            raise InputError(
                f"{self.passes} passes of a model that returns {type(answers).__name__} cannot be "
                "combined; expected a classifier's N×classes, or passes=1"
            )
        answers = _one_hot(answers) if self.combine == "vote" else answers
        return answers.mean(0, keepdim=True)


def _one_hot(scores: Tensor) -> Tensor:
    return F.one_hot(scores.argmax(1), scores.shape[1]).float()


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
            votes.append(_one_hot(self.model(images)))
        return torch.stack(votes).mean(0)


def protect(
    model: Callable[..., Any],
    defense: str | Path | nn.Module = DEFAULT,
    *,
    mode: Literal["static", "dynamic"] = "static",
    generator: Generator | None = None,
) -> Protected:
    """Put a defense in front of a model, which is neither retrained nor changed.

    >>> model = protect(torchvision_model)  # doctest: +SKIP
    >>> model = protect(torchvision_model, "jpeg:quality=75+fast")  # doctest: +SKIP

    A defense that asks for several passes (``passes`` and ``combine``, such as ``rp``) gets them.

    Args:
        model: See :class:`Protected`.
        defense: A spec that :func:`nrpurify.defenses.make` takes, such as a shipped purifier's
            name, a checkpoint file, or any module from images to images.
        mode: ``static``: as it is. ``dynamic``: behind a random step (appendix B.1).
        generator: For what is random, a CPU generator.

    Raises:
        InputError: No such defense or mode.
    """
    module = _load(defense)
    passes, combine = passes_of(module)
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    if mode == "dynamic":
        module = DynamicPurifier(module)
    if generator is not None:
        reseed(module, generator)
    device = next((tensor.device for tensor in _tensors(model)), None)
    return Protected(model, module.to(device), passes=passes, combine=combine)


def _load(defense: str | Path | nn.Module) -> nn.Module:
    if isinstance(defense, nn.Module):
        return defense
    return load_purifier(defense) if isinstance(defense, Path) else make(defense)


def _tensors(model: Callable[..., Any]) -> list[Tensor]:
    if not isinstance(model, nn.Module):
        return []
    return [*model.parameters(), *model.buffers()]
