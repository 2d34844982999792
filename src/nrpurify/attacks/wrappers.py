"""Wrappers of models that any gradient attack can work on: BPDA, EOT and Ensemble.

``Protected(model, BPDA(defense))`` attacks through a defense without usable gradients,
``EOT(Protected(model, defense), eot_samples=30)`` through a random one; both go together.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.attacks.surrogate import classify
from nrpurify.core.errors import InputError

_DEFENSE = "a module or function; by its name: BPDA(nrpurify.defenses.make(name))"


class _Substitute(torch.autograd.Function):
    """Forward the second tensor, hand the gradient to the first."""

    @staticmethod
    def forward(ctx: Any, differentiable: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(differentiable: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient that ``differentiable`` of the same shape has."""
    substituted: Tensor = _Substitute.apply(differentiable, value)
    return substituted


class BPDA(nn.Module):
    """A defense that answers as it does, with a gradient of something else (Athalye et al., 2018).

    Args:
        defense: Maps N×3×H×W images in [0, 1] to the same; need not be differentiable.
        surrogate: Whose gradient is used, for instance a purifier of one's own (Table 3's
            attacker); None for that of the identity.

    Raises:
        InputError: No module or function, such as the name of a defense; when called: the defense
            changes the shape, and the surrogate differently.
    """

    def __init__(self, defense: nn.Module, surrogate: nn.Module | None = None) -> None:
        super().__init__()
        from nrpurify.core.callables import as_module  # a command that wraps nothing loads less

        self.defense = as_module(defense, "defense", _DEFENSE)
        self.surrogate = nn.Identity() if surrogate is None else as_module(surrogate, "surrogate")

    def forward(self, images: Tensor) -> Tensor:
        """What the defense makes of the images."""
        with torch.no_grad():
            defended = self.defense(images)
        approximate: Tensor = self.surrogate(images)
        if approximate.shape != defended.shape:
            raise InputError(
                f"the defense makes {tuple(images.shape)} into {tuple(defended.shape)}, its "
                f"surrogate into {tuple(approximate.shape)}; expected one shape"
            )
        return straight_through(approximate, defended.to(approximate.dtype))


class EOT(nn.Module):
    """A random classifier, averaged over several draws a step (Athalye et al., 2018).

    The attacks of this package average the loss, and so its gradient, over the draws; called as a
    classifier it answers with the mean of the logits. It goes outermost, around ensemble and
    defense.

    Args:
        model: A classifier that answers differently each time.
        eot_samples: Draws for one gradient; report the number with the results.
        batched: All draws in one batch. Set to False for defenses that draw once a batch, or the
            draws of an image are all the same.
        draws: Old name of ``eot_samples``.

    Raises:
        InputError: Fewer than one draw, or no module or function.
    """

    def __init__(
        self,
        model: nn.Module,
        eot_samples: int | None = None,
        *,
        batched: bool = True,
        draws: int | None = None,
    ) -> None:
        super().__init__()
        if draws is not None:
            warnings.warn("EOT's draws is called eot_samples now", DeprecationWarning, stacklevel=2)
        samples = draws if eot_samples is None else eot_samples
        if samples is None or samples < 1:
            raise InputError(f"eot_samples is {samples}; expected at least 1")
        from nrpurify.core.callables import check_callable  # as in BPDA

        check_callable(model, "model")
        self.model, self.eot_samples, self.batched = model, samples, batched

    def each(self, images: Tensor) -> Tensor:
        """Logits N×eot_samples×classes of N×3×H×W images in [0, 1]."""
        if not self.batched:
            return torch.stack([classify(self.model, images) for _ in range(self.eot_samples)], 1)
        rows = classify(self.model, images.repeat_interleave(self.eot_samples, 0))
        return rows.view(len(images), self.eot_samples, -1)

    def forward(self, images: Tensor) -> Tensor:
        """Mean logits N×classes of N×3×H×W images in [0, 1]."""
        return self.each(images).mean(1)


class Ensemble(nn.Module):
    """A classifier whose logits are the mean of those of its members (Dong et al., 2018).

    Members may differ in input size as long as each, like
    :class:`nrpurify.models.Classifier`, resizes inside.

    Args:
        models: Classifiers from N×3×H×W images in [0, 1] to N×classes logits.

    Raises:
        InputError: There is no member, or a member is no module. When called: the members have
            different numbers of classes.
    """

    def __init__(self, *models: nn.Module) -> None:
        super().__init__()
        if not models:
            raise InputError("an ensemble of no model was given; expected at least one")
        for model in models:
            if not isinstance(model, nn.Module):
                raise InputError(
                    f"a member of the ensemble is a {type(model).__name__}; expected modules, one "
                    "an argument: Ensemble(first, second)"
                )
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        """Mean logits N×classes of N×3×H×W images in [0, 1]."""
        answers = [classify(model, images) for model in self.models]
        classes = [answer.shape[1] for answer in answers]
        if len(set(classes)) > 1:
            raise InputError(
                f"the members of the ensemble have {', '.join(map(str, classes))} classes; "
                "expected the same number from all"
            )
        return torch.stack(answers).mean(0)
