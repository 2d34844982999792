"""A model as every attack library wants it: images in [0, 1] to logits, always in eval mode."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from nrpurify.attacks.surrogate import Model, classify, frozen


class Target(nn.Module):
    """A classifier that other people's attacks cannot put out of shape.

    It is in eval mode while it answers and stays so whatever mode an attack asks for; its weights
    never get a gradient. The wrapped model's own modes and flags are as before after each call.
    torchattacks, RobustBench and AutoAttack take it as it is.

    Args:
        model: Maps N×3×H×W images in [0, 1] to N×classes logits: a protected model, a classifier
            of this package, or an ``EOT`` around a random one.
        device: Where its images are.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        # Libraries look for the device in the first parameter; not every model has one.
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.model = model
        self.training = False

    @property
    def device(self) -> torch.device:
        """Where images have to be."""
        return self.place.device

    def forward(self, images: Tensor) -> Tensor:
        """Float32 logits N×classes of N×3×H×W images in [0, 1], differentiable to the images.

        Raises:
            InputError: The model's output is not N×classes.
        """
        with frozen(self.model):
            return classify(self.model, images).float()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Leave gradients alone: none of them came from here."""


def torch_model(model: Model, *, device: str | torch.device | None = None) -> Target:
    """The model for torchattacks, RobustBench, AutoAttack and whatever else takes a module.

    Images are in [0, 1] and preprocessing is inside, so their normalization stays switched off.

    >>> attack = torchattacks.PGD(torch_model(protect(model)), eps=8 / 255)  # doctest: +SKIP

    Args:
        model: See :class:`Target`.
        device: Where images are; by default where the model's weights are, or the CPU if it has
            none.
    """
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    found = next((tensor.device for tensor in tensors), torch.device("cpu"))
    return Target(model, found if device is None else torch.device(device))
