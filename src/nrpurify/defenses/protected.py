"""``protect(model)``: a defense in front of any model, as one module."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify.core.callables import as_module, call_with_rgb, check_callable
from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Channels, Normalize, find_preprocessing
from nrpurify.core.random import check_generator
from nrpurify.core.scale import enlarged
from nrpurify.defenses.arguments import Found, check_values, find_images
from nrpurify.defenses.chain import passes_of
from nrpurify.defenses.checked import check_finite
from nrpurify.defenses.create import as_defense
from nrpurify.defenses.geometry import Frame, bring_back, defend
from nrpurify.defenses.randomness import Combine, check_passes, reseed
from nrpurify.purifiers import DEFAULT, DynamicPurifier

Range = Literal["unit", "normalized"]
"""Of the images that callers pass: [0, 1], or by mean and std."""


class Protected(nn.Module):
    """A model that sees its images only through a defense.

    As differentiable as the two are, so that adaptive attacks see the whole. Behind a defense that
    changes the size, boxes, masks, keypoints and values of pixels come back in the frames of the
    images as given. Attributes of the model, such as ``config``, can be read here; its other
    methods cannot be called here, since they would see undefended images: use ``.model``.

    Args:
        model: Any module or callable with N×3×H×W images among its arguments or, as torchvision's
            detectors take it, a list of 3×H×W images.
        defense: Maps N×3×H×W images in [0, 1] to the same.
        passes: How often the model is asked about each image; more than 1 only for classifiers
            and random defenses. All passes of an image go together, image after image.
        combine: ``mean`` of the logits, or each class's share of the ``vote`` (without a gradient).
        normalize: The normalization that the model expects; None when it takes [0, 1].
        images: ``unit``: callers pass [0, 1]. ``normalized``: they pass what the model takes.
        input: Name of the argument with the images; None for the first that looks like images.
        check: Refuse images outside of their range, and NaN from the defense. It reads two values
            back from a GPU for each call. Nothing is checked under ``torch.export``,
            ``torch.compile`` and ``torch.func``.

    Raises:
        InputError: No module or function (names are for :func:`protect`), passes or a combination
            that cannot be used; when called: no images or images
            out of their range, NaN or infinite values from the defense, several passes of a model
            that does not return N×classes, or an answer that cannot be brought back, see
            :func:`nrpurify.defenses.geometry.bring_back`.

    Examples:
        >>> blur = torch.nn.AvgPool2d(3, 1, 1)
        >>> model = nrpurify.Protected(torch.nn.Flatten(), blur)
        >>> model(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 192])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        defense: nn.Module,
        *,
        passes: int = 1,
        combine: Combine = "mean",
        normalize: Normalize | None = None,
        images: Range = "unit",
        input: str | None = None,
        check: bool = True,
    ) -> None:
        super().__init__()
        check_callable(model, "model")
        module = as_module(defense, "defense", "a module or function; protect() takes names too")
        check_passes(passes, combine)
        if images not in ("unit", "normalized"):
            raise InputError(f"images is {images!r}; expected 'unit' or 'normalized'")
        if images == "normalized" and normalize is None:
            raise InputError(
                "images='normalized' needs the normalization to undo; give mean= and std=, or "
                "preprocessing="
            )
        self.defense = module
        self.model = model
        self.normalize = normalize
        self.passes, self.combine = passes, combine
        self.images, self.input, self.check = images, input, check

    def __getattr__(self, name: str) -> Any:
        """What the module itself has, else what the model has, methods apart."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self.__dict__.get("model", self.__dict__.get("_modules", {}).get("model"))
            if model is None or name.startswith("__"):
                raise
        value = getattr(model, name)
        if inspect.isroutine(value):
            raise AttributeError(
                f"{name} of the model would see undefended images; call the protected model, or "
                f".model.{name} if that is what you want"
            )
        return value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model with defended images; all other arguments are passed on as they are."""
        found = find_images(self.model, args, kwargs, self.input)
        given = found.images
        if self.check:
            self._check(found)
        if self.passes > 1 and len(given):
            return torch.cat([self._several(image, found) for image in given])
        if isinstance(given, Tensor):
            defended, frames = self._defend(self._unit(given))
            with enlarged(given, defended):
                answer = self._ask(found, self._shown(defended, given))
            return bring_back(answer, frames)
        each = [self._defend(self._unit(image[None])) for image in given]
        shown = [self._shown(one, image)[0] for (one, _), image in zip(each, given, strict=True)]
        frames = [
            frame
            for (_, places), image in zip(each, given, strict=True)
            for frame in places or [Frame.still(image)]
        ]
        return bring_back(self._ask(found, shown), frames)

    def _check(self, found: Found) -> None:
        undo = self.normalize.undo if self.normalize and self.images == "normalized" else None
        check_values(found, undo, self.normalize is not None)

    def _defend(self, images: Tensor) -> tuple[Tensor, list[Frame]]:
        defended, frames = defend(self.defense, images)
        if self.check:
            check_finite(defended, "the defense's output")
        return defended, frames

    def _unit(self, images: Tensor) -> Tensor:
        """The images in [0, 1]."""
        undo = self.normalize is not None and self.images == "normalized"
        return self.normalize.undo(images) if undo else images  # type: ignore[union-attr]

    def _shown(self, defended: Tensor, given: Tensor) -> Tensor:
        """Defended images as the model takes them, in its precision."""
        if self.normalize is not None:
            defended = self.normalize(defended)
        kinds = (tensor.dtype for tensor in _tensors(self.model) if tensor.is_floating_point())
        kept = given.dtype if self.images == "normalized" else defended.dtype
        return defended.to(next(kinds, kept))

    def _ask(self, found: Found, images: Tensor | list[Tensor]) -> Any:
        args, kwargs = found.put(images)
        return call_with_rgb(self.model, *args, **kwargs)

    def _several(self, image: Tensor, found: Found) -> Tensor:
        copies = self._unit(image.expand(self.passes, *image.shape))
        defended = self.defense(copies)
        if self.check:
            check_finite(defended, "the defense's output")
        with enlarged(copies, defended):
            answers = self._ask(found, self._shown(defended, image))
        if not isinstance(answers, Tensor) or answers.ndim != 2:
            raise InputError(
                f"{self.passes} passes of a model that returns {type(answers).__name__} cannot be "
                "combined; expected a classifier's N×classes, or passes=1"
            )
        answers = _one_hot(answers) if self.combine == "vote" else answers
        return answers.mean(0, keepdim=True)


def _one_hot(scores: Tensor) -> Tensor:
    votes = F.one_hot(scores.argmax(1), scores.shape[1]).float()
    return votes.masked_fill(scores.isnan().any(1, keepdim=True), torch.nan)  # NaN is no class 0


class MajorityVote(nn.Module):
    """A classifier's answer by the majority of several passes of a random defense.

    Args:
        model: Returns N×classes scores; random, or the passes agree.
        passes: Number of passes.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
        >>> votes = nrpurify.MajorityVote(model, passes=3)(torch.rand(2, 3, 8, 8))
        >>> bool((votes.sum(1) == 1).all())
        True
    """

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        check_callable(model, "model")
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
    defense: str | Path | Callable[[Tensor], Tensor] = DEFAULT,
    *,
    mode: Literal["static", "dynamic"] = "static",
    generator: Generator | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
    preprocessing: object | None = None,
    images: Range = "unit",
    input: str | None = None,
    check: bool = True,
) -> Protected:
    """Put a defense in front of a model, which is neither retrained nor changed.

    A defense that asks for several passes (``passes`` and ``combine``, such as ``rp``) gets them.

    Args:
        model: See :class:`Protected`.
        defense: A spec that :func:`nrpurify.defenses.make` takes, such as a shipped purifier's
            name, a checkpoint file, a file of ``nrpurify export``, or any module or function from
            images to images.
        mode: ``static``: as it is. ``dynamic``: behind a random step (appendix B.1).
        generator: For what is random, a CPU generator.
        mean: What the model's input is normalized by, in units of [0, 1] and in the order of its
            channels: 3 numbers, or one for all. Normalization is put between defense and model.
        std: The same.
        preprocessing: In place of both, what has them: see
            :func:`nrpurify.core.preprocessing.read_preprocessing`. Only mean, std and the order of
            the channels are taken; resize and crop before the call.
        images: ``unit``: you pass [0, 1]. ``normalized``: you pass normalized images, such as
            the ``pixel_values`` of transformers; they are brought to [0, 1] for the defense and
            normalized again.
        input: Name of the argument with the images; by default the first that looks like images,
            by position or keyword.
        check: Refuse images outside of their range, see :class:`Protected`.

    Raises:
        InputError: No such defense or mode, or a normalization or generator that cannot be used.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 96 * 96, 10))
        >>> protected = nrpurify.protect(model, "jpeg:quality=75")
        >>> protected(torch.rand(2, 3, 96, 96)).shape
        torch.Size([2, 10])
    """
    check_callable(model, "model")
    check_generator(generator)
    found = find_preprocessing(mean, std, preprocessing)
    if found is None:
        _warn_of_normalization(model)
    elif _normalizes(model):
        raise InputError(
            f"mean, std or preprocessing was given for a {type(model).__name__} of nrpurify, which "
            "normalizes its images itself; leave it out"
        )
    module = as_defense(defense)
    passes, combine = passes_of(module)
    if mode not in ("static", "dynamic"):
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    if mode == "dynamic":
        module = DynamicPurifier(module)
    if generator is not None:
        reseed(module, generator)
    protected = Protected(
        model,
        module,
        passes=passes,
        combine=combine,
        normalize=None if found is None else Normalize(found.mean, found.std, bgr=found.bgr),
        images=images,
        input=input,
        check=check,
    )
    device = next((tensor.device for tensor in _tensors(model)), None)
    for part in (protected.defense, protected.normalize):
        if part is not None:
            part.to(device)
    return protected


def _normalizes(model: Callable[..., Any]) -> bool:
    """Whether it is a model of this package that normalizes its images itself."""
    ours = type(model).__module__.startswith("nrpurify.")
    std = getattr(model, "std", None)
    return ours and isinstance(std, Tensor) and bool((std != 1).any())


_NORMALIZED_OUTSIDE = ("torchvision.models.", "timm.models.", "transformers.models.")
_NORMALIZED_INSIDE = ("torchvision.models.detection.", "torchvision.models.optical_flow.")


def _warn_of_normalization(model: Callable[..., Any]) -> None:
    """Warn when a model of a known library is to get [0, 1] without the normalization it needs."""
    home = type(model).__module__
    if home.startswith(_NORMALIZED_OUTSIDE) and not home.startswith(_NORMALIZED_INSIDE):
        warnings.warn(
            f"{type(model).__name__} of {home.partition('.')[0]} expects normalized images, and "
            "protect() was given no normalization; give mean= and std= or preprocessing= (mean=0, "
            "std=1 for a model trained on [0, 1])",
            stacklevel=3,
        )


def _tensors(model: Callable[..., Any]) -> list[Tensor]:
    if not isinstance(model, nn.Module):
        return []
    return [*model.parameters(), *model.buffers()]
